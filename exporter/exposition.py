"""The bytes of `/metrics`, rendered when the data change and not when they are scraped.

Tenants stand in groups; a group's samples of one family are one segment, kept as text and as a piece of a gzip stream.
A poll renders its tenant anew and compresses its group's segments; a scrape joins ready pieces, and compresses only the
process's own few series, into one gzip member: a second one breaks `curl --compressed`.
"""

from __future__ import annotations

import struct
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.exposition import generate_latest as text_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_latest
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client import CollectorRegistry

    from exporter.families import Family
    from exporter.metrics import Sample

_GROUP = 64
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LEVEL = 6


class UnknownTenantError(LookupError):
    """A scrape asked for a tenant that is not configured.

    Args:
        name: the name as it was asked for.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown tenant {name!r}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Segment:
    """A family's samples of one group of tenants.

    Attributes:
        text: the samples' lines.
        deflated: the same as raw deflate, ended so that any other such piece may follow.
        ends: where each tenant's lines end in `text`.
    """

    text: bytes
    deflated: bytes
    ends: tuple[int, ...]

    def block(self, position: int) -> bytes:
        """Return the lines of the tenant at `position` of the group."""
        return self.text[self.ends[position - 1] if position else 0 : self.ends[position]]


@dataclass(frozen=True, slots=True)
class _Page:
    """Everything of the tenants, ready to be sent, in one format."""

    texts: tuple[bytes, ...]
    deflated: bytes
    crc: int
    length: int


def deflate(text: bytes) -> bytes:
    """Return `text` as raw deflate that ends on a byte and refers to nothing before it."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH)


def lines(family: Family, samples: Iterable[Sample]) -> bytes:
    """Return the samples' lines, the same in both formats, as prometheus-client writes them.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    order = sorted(range(len(family.labels)), key=family.labels.__getitem__)
    names = [family.labels[i] for i in order]
    name = family.full_name
    made: list[str] = []
    for sample in samples:
        labels = ",".join(f'{label}="{_escaped(sample.labels[i])}"' for label, i in zip(names, order, strict=True))
        made.append(f"{name}{{{labels}}} {_number(sample.value)}\n")
    return "".join(made).encode("utf-8")


def _number(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def header(family: Family, *, openmetrics: bool) -> bytes:
    """Return the family's HELP and TYPE lines."""
    name = family.full_name
    if openmetrics and family.type == "counter":
        name = name.removesuffix("_total")
    escape = _escaped if openmetrics else _escaped_help
    return f"# HELP {name} {escape(family.help)}\n# TYPE {name} {family.type}\n".encode()


def _escaped_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


class _Group:
    """Up to `_GROUP` tenants, and their segments, one a family."""

    __slots__ = ("names", "segments")

    def __init__(self, families: int) -> None:
        self.names: list[str] = []
        self.segments: list[Segment] = [Segment(b"", b"", ())] * families

    def replace(self, name: str, blocks: Sequence[bytes] | None) -> None:
        """Set a tenant's lines, family by family; None takes the tenant out."""
        position = self.names.index(name) if name in self.names else len(self.names)
        old = len(self.names)
        if blocks is None:
            self.names.remove(name)
        elif position == old:
            self.names.append(name)
        for i, segment in enumerate(self.segments):
            pieces = [segment.block(p) for p in range(old)]
            pieces[position : position + 1] = [blocks[i]] if blocks is not None else []
            self.segments[i] = _segment(pieces, segment)


def _segment(pieces: Sequence[bytes], old: Segment) -> Segment:
    text = b"".join(pieces)
    ends: list[int] = []
    end = 0
    for piece in pieces:
        end += len(piece)
        ends.append(end)
    deflated = old.deflated if text == old.text else deflate(text)
    return Segment(text, deflated if text else b"", tuple(ends))


class Exposition:
    """Holds the rendered samples of every tenant and gives the body of a scrape.

    `put`, `drop` and `publish` are for the one thread that renders; `body` is for any, at any time.

    Args:
        families: the tenants' families, in the order of `/metrics`.
        own: the registry of the process's own metrics, asked at each scrape.
    """

    def __init__(self, families: Sequence[Family], own: CollectorRegistry) -> None:
        self._families = tuple(families)
        self._own = own
        self._groups: list[_Group] = []
        self._group_of: dict[str, _Group] = {}
        self._headers = {
            openmetrics: tuple(
                Segment(text, deflate(text), ())
                for text in (header(family, openmetrics=openmetrics) for family in self._families)
            )
            for openmetrics in (False, True)
        }
        self._lock = threading.Lock()
        self._pages: dict[bool, _Page] = {}
        self.publish()

    def put(self, tenant: str, samples: Iterable[Sample]) -> None:
        """Render a tenant's samples in place of those it had; seen from the next `publish` on."""
        by_family: dict[str, list[Sample]] = {}
        for sample in samples:
            by_family.setdefault(sample.family, []).append(sample)
        blocks = [lines(family, by_family.get(family.name, ())) for family in self._families]
        with self._lock:
            group = self._group_of.get(tenant)
            if group is None:
                if not self._groups or len(self._groups[-1].names) >= _GROUP:
                    self._groups.append(_Group(len(self._families)))
                group = self._group_of[tenant] = self._groups[-1]
            group.replace(tenant, blocks)

    def drop(self, tenant: str) -> None:
        """Take a tenant's samples away; seen from the next `publish` on."""
        with self._lock:
            group = self._group_of.pop(tenant, None)
            if group is not None:
                group.replace(tenant, None)
                self._groups = [group for group in self._groups if group.names]

    def publish(self) -> None:
        """Make what was put and dropped the answer of the next scrape."""
        self._pages = {openmetrics: self._page(openmetrics=openmetrics) for openmetrics in (False, True)}

    def _page(self, *, openmetrics: bool) -> _Page:
        texts: list[bytes] = []
        deflated: list[bytes] = []
        crc = length = 0
        for i, family_header in enumerate(self._headers[openmetrics]):
            segments = [group.segments[i] for group in self._groups if group.segments[i].text]
            for segment in (family_header, *segments) if segments else ():
                texts.append(segment.text)
                deflated.append(segment.deflated)
                crc = zlib.crc32(segment.text, crc)
                length += len(segment.text)
        return _Page(tuple(texts), b"".join(deflated), crc, length)

    def body(self, *, openmetrics: bool, gzip: bool, tenants: Sequence[str] = ()) -> Sequence[bytes]:
        """Return the body of a scrape, in pieces.

        Args:
            openmetrics: OpenMetrics 1.0.0 in place of text 0.0.4.
            gzip: as one gzip member.
            tenants: only these tenants' series; all, and the process's own, where empty.

        Raises:
            UnknownTenantError: one of `tenants` is not configured.
        """
        if tenants:
            return self._chosen(tenants, openmetrics=openmetrics, gzip=gzip)
        latest: Callable[[CollectorRegistry], bytes] = openmetrics_latest if openmetrics else text_latest
        tail = latest(self._own)
        page = self._pages[openmetrics]
        if not gzip:
            return (*page.texts, tail)
        return _member(page.deflated, tail, page.crc, page.length)

    def _chosen(self, tenants: Sequence[str], *, openmetrics: bool, gzip: bool) -> Sequence[bytes]:
        pieces: list[bytes] = []
        with self._lock:
            places = [(self._group_of.get(name), name) for name in dict.fromkeys(tenants)]
            for i, family_header in enumerate(self._headers[openmetrics]):
                blocks = []
                for group, name in places:
                    if group is None:
                        raise UnknownTenantError(name)
                    blocks.append(group.segments[i].block(group.names.index(name)))
                if any(blocks):
                    pieces += [family_header.text, *blocks]
        text = b"".join(pieces) + (b"# EOF\n" if openmetrics else b"")
        return _member(b"", text, 0, 0) if gzip else [text]


def _member(deflated: bytes, tail: bytes, crc: int, length: int) -> Sequence[bytes]:
    """Return one gzip member (RFC 1952): the ready pieces, then `tail`.

    Args:
        deflated: raw deflate, ended by a full flush.
        tail: text to be compressed now.
        crc: of what `deflated` holds.
        length: of what `deflated` holds, in bytes.
    """
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    end = packer.compress(tail) + packer.flush()
    trailer = struct.pack("<LL", zlib.crc32(tail, crc), (length + len(tail)) & 0xFFFFFFFF)
    return (_GZIP_HEADER, deflated, end, trailer)
