"""Draw the pages' Mermaid diagrams into `docs/_diagrams`: run this when one changed.

    npm pack mermaid@11.12.1 && tar xf mermaid-11.12.1.tgz
    python docs/draw_diagrams.py package/dist/mermaid.min.js

It drives the system's Chromium with Playwright. The pictures name the theme's variables
instead of colours, so that one file fits the light and the dark page.
"""

import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
import diagrams

COLOURS = {
    "#fafaf1": "var(--color-background-secondary)",
    "#fafaf2": "var(--color-background-primary)",
    "#111121": "var(--color-foreground-primary)",
    "#555561": "var(--color-foreground-secondary)",
    "#555562": "var(--color-foreground-border)",
    "#05050d": "var(--color-foreground-primary)",
}
"""The colours that Mermaid draws with or computes, and variables for them."""

PANEL, PAPER, TEXT, ARROW, FRAME, _ = COLOURS
THEME = {
    "background": PAPER,
    "mainBkg": PANEL,
    "primaryColor": PANEL,
    "primaryTextColor": TEXT,
    "primaryBorderColor": FRAME,
    "secondaryColor": PAPER,
    "tertiaryColor": PAPER,
    "clusterBkg": PAPER,
    "clusterBorder": FRAME,
    "nodeBorder": FRAME,
    "lineColor": ARROW,
    "textColor": TEXT,
    "titleColor": TEXT,
    "edgeLabelBackground": PAPER,
    "labelBackgroundColor": PAPER,
    "labelColor": TEXT,
    "stateBkg": PANEL,
    "stateLabelColor": TEXT,
    "transitionColor": ARROW,
    "transitionLabelColor": TEXT,
    "specialStateColor": ARROW,
    "innerEndBackground": ARROW,
    "actorBkg": PANEL,
    "actorBorder": FRAME,
    "actorTextColor": TEXT,
    "actorLineColor": FRAME,
    "signalColor": ARROW,
    "signalTextColor": TEXT,
    "noteBkgColor": PANEL,
    "noteBorderColor": FRAME,
    "noteTextColor": TEXT,
}
CONFIGURATION = {
    "startOnLoad": False,
    "theme": "base",
    "fontFamily": "Arial, Helvetica, Liberation Sans, sans-serif",  # all of one width
    "themeVariables": THEME,
    "htmlLabels": True,
    "flowchart": {"htmlLabels": True, "useMaxWidth": False},
    "state": {"useMaxWidth": False},
    "sequence": {"useMaxWidth": False, "mirrorActors": False},
}


def draw(page: Page, name: str, source: str) -> str:
    """Return the SVG of one diagram, in the theme's colours."""
    svg = page.evaluate(
        "async ([name, source]) => (await mermaid.render(name, source)).svg",
        [f"diagram-{name}", source],
    )
    for colour, variable in COLOURS.items():
        svg = re.sub(re.escape(colour), variable, svg, flags=re.IGNORECASE)
    svg = re.sub(r' (role|aria-roledescription|data-[\w-]+)="[^"]*"', "", svg)
    return re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", svg)


def main() -> None:
    """Draw the diagrams that changed."""
    (script,) = sys.argv[1:]
    sources = diagrams.diagrams()
    for file in set(diagrams.PICTURES.iterdir()) - set(sources):
        file.unlink()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.set_content("<!doctype html><body></body>")
        page.add_script_tag(path=script)
        page.evaluate("settings => mermaid.initialize(settings)", CONFIGURATION)
        for file, source in sources.items():
            if diagrams.is_drawn(file, source):
                continue  # Chromium's measures differ by a tenth of a pixel each time
            svg = draw(page, file.stem, source)
            file.write_text(f"{diagrams.digest(source)}{svg}\n", encoding="utf-8")
        browser.close()


if __name__ == "__main__":
    main()
