"""README.md for package indexes and installed wheels, whose pages have no files that a relative link could lead to."""

from __future__ import annotations

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class AbsoluteLinks(MetadataHookInterface):
    """Makes README.md the long description, with links into the repository in place of relative ones."""

    def update(self, metadata: dict[str, object]) -> None:
        """Set the project's readme."""
        urls = metadata["urls"]
        assert isinstance(urls, dict)
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        for start, view in ((r"(!\[[^]]*\]\()", "raw"), (r"(\]\()", "blob")):
            text = re.sub(start + r"(?!https?://|#)", rf"\1{urls['Homepage']}/{view}/main/", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
