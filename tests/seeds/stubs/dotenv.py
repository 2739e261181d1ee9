"""The one function of python-dotenv the seeds call, reading `.env` of the working directory."""

import os


def load_dotenv() -> bool:
    with open(".env") as file:
        for line in file:
            name, _, value = line.strip().partition("=")
            os.environ.setdefault(name, value)
    return True
