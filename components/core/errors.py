"""The one exception whose message is meant for the user."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right: shown as one message, exit code 2, no traceback.

    `problem` says what is wrong with its place and numbers, `remedy` what to do about it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        end = "" if self.problem.endswith("\n") else ". "
        return f"{self.problem.rstrip('.')}{end}{self.remedy}"


class UnreachableError(UserError):
    """What was asked for may be right: who would know did not answer, from this machine and now."""


def too_new(where: str, unknown: str) -> UserError:
    """The error for something that a newer version of this code has written: what this one does not know, it keeps."""
    return UserError(
        f"{where} was written by a newer version of this code: {unknown} is not known here",
        "Install that version, or a newer one, and run again; nothing was changed.",
    )
