"""What is wrong with a requirement: where, and what would be accepted there."""


class RequirementError(Exception):
    """A requirement cannot be read, or does not fit the attributes it speaks of.

    `position` counts characters from 0 in the requirement's text; `expected` says what would be
    accepted at that place.
    """

    def __init__(self, problem: str, position: int, expected: str) -> None:
        super().__init__(f"requirement: {problem} at character {position}; expected {expected}")
        self.problem = problem
        self.position = position
        self.expected = expected
