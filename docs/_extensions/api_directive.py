"""Show a name's signature and docstring: a fence `{api} class NAME`."""

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def as_is(argument: str) -> str:
    """Return an option's text."""
    return argument or ""


class Api(SphinxDirective):
    """The documentation from the code: the fence's text is for the source."""

    required_arguments = 2
    has_content = True
    option_spec = {  # noqa: RUF012 - Sphinx reads it
        "members": as_is,
        "exclude-members": as_is,
        "docstrings": as_is,  # in the page's source, too
    }

    def run(self) -> list[nodes.Node]:
        """Return what autodoc makes of the name."""
        kind, name = self.arguments
        options = {**self.options, **({"no-value": ""} if kind == "data" else {})}
        if options.pop("docstrings", None) is not None:
            options["members"] = ""
        lines = [
            "```{eval-rst}",
            f".. auto{kind}:: {name}",
            *(f"   :{option}: {text}".rstrip() for option, text in options.items()),
            "```",
        ]
        node = nodes.container()
        self.state.nested_parse(StringList(lines, source=name), 0, node)
        return node.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("api", Api)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
