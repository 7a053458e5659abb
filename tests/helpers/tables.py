"""Tables that commands print."""

import re


def table_rows(text):
    """The cells of each line; two or more spaces separate cells."""
    return [re.split(" {2,}", line) for line in text.splitlines()]
