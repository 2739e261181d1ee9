"""The name of a model, which is all the seeds' agent needs of it."""


class OpenAI:
    def __init__(self, model: str):
        self.model = model
