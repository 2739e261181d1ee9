"""How the dashboard looks and speaks: values in, safe markup out. Nothing here knows a request or a store."""
