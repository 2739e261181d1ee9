"""Tools by the names a class lists."""


class BaseToolSpec:
    spec_functions: list

    def to_tool_list(self):
        return [getattr(self, name) for name in self.spec_functions]
