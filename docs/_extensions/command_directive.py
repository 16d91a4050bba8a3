"""Show the commands' own help: a fence `{command} NAME…` or `{command} target`."""

from command_help import help_of
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Command(SphinxDirective):
    """The help of some commands, with one table of their options."""

    required_arguments = 1
    optional_arguments = 20

    def run(self) -> list[nodes.Node]:
        """Return the help, read as Markdown."""
        node = nodes.container()
        lines = help_of(self.arguments[0].split() + self.arguments[1:]).splitlines()
        self.state.nested_parse(StringList(lines, source="help"), 0, node)
        return node.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command", Command)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
