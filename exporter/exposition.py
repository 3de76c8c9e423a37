"""The bytes of `/metrics`, rendered when the data change and not when they are scraped.

Tenants stand in groups; a group's samples of one family are one segment, kept as text and as a piece of a gzip stream.
A poll renders its tenant and compresses its group's segments; a scrape joins ready pieces, and adds the process's
own few series as they are, in one gzip member: a second one breaks `curl --compressed`.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import TYPE_CHECKING, NamedTuple

from exporter.sample_lines import EOF, family_header, lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exporter.families import Family
    from exporter.metrics import Sample
    from exporter.process_metrics import ProcessMetrics

_GROUP = 64
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LEVEL = 6
_LARGEST_STORED = 0xFFFF


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
        ends: where each tenant's lines end in `text`.
        deflated: the text as raw deflate, ended so that any other such piece may follow; None until `publish`.
    """

    text: bytes = b""
    ends: tuple[int, ...] = ()
    deflated: bytes | None = None

    def block(self, position: int) -> bytes:
        """Return the lines of the tenant at `position` of the group."""
        return self.text[self.ends[position - 1] if position else 0 : self.ends[position]]


class Checksum(NamedTuple):
    """The CRC-32 of a text, to be joined with that of another (the method of zlib's `crc32_combine`).

    Attributes:
        crc: of the text.
        length: of the text, bytes.
        shift: x to the power of the text's bits, modulo the CRC's polynomial; it moves a CRC past the text.
    """

    crc: int = 0
    length: int = 0
    shift: int = 1 << 31

    @classmethod
    def of(cls, text: bytes) -> Checksum:
        zeros = bytes(len(text))  # the CRC is linear: what zeros make of the unit is the shift
        return cls(zlib.crc32(text), len(text), zlib.crc32(zeros, 1 << 31) ^ zlib.crc32(zeros))

    def then(self, other: Checksum) -> Checksum:
        """Return the checksum of this text with the other behind it."""
        crc = _product(self.crc, other.shift) ^ other.crc
        return Checksum(crc, self.length + other.length, _product(self.shift, other.shift))


def _product(left: int, right: int) -> int:
    """Multiply two polynomials modulo that of CRC-32, the highest power in the lowest bit."""
    product, bit = 0, 1 << 31
    while left:
        if left & bit:
            product ^= right
            left ^= bit
        bit >>= 1
        right = (right >> 1) ^ (0xEDB88320 if right & 1 else 0)
    return product


class _Strip:
    """A family's segments of all groups, with what a change of one of them needs to be seen without the others.

    Attributes:
        texts: the segments' lines.
        deflated: the segments, compressed and joined.
    """

    def __init__(self, segments: Sequence[Segment] = ()) -> None:
        self._texts = [segment.text for segment in segments]
        self._pieces = [segment.deflated or b"" for segment in segments]
        width = 1 << max(len(segments) - 1, 0).bit_length()
        # A binary tree in an array: the sum of node n is that of nodes 2n and 2n+1; the leaves are the segments.
        self._sums = [Checksum()] * width + [Checksum.of(text) for text in self._texts]
        self._sums += [Checksum()] * (2 * width - len(self._sums))
        for node in range(width - 1, 0, -1):
            self._sums[node] = self._sums[2 * node].then(self._sums[2 * node + 1])
        self._join()

    def replace(self, place: int, segment: Segment) -> None:
        if segment.text == self._texts[place]:
            return
        self._texts[place], self._pieces[place] = segment.text, segment.deflated or b""
        node = len(self._sums) // 2 + place
        self._sums[node] = Checksum.of(segment.text)
        while node > 1:
            node //= 2
            self._sums[node] = self._sums[2 * node].then(self._sums[2 * node + 1])
        self._is_joined = False

    def join(self) -> None:
        """Make `texts` and `deflated` what the segments are now."""
        if not self._is_joined:
            self._join()

    @property
    def checksum(self) -> Checksum:
        """Of the segments' lines."""
        return self._sums[1]

    def _join(self) -> None:
        self.texts = tuple(filter(None, self._texts))
        self.deflated = b"".join(self._pieces)
        self._is_joined = True


@dataclass(frozen=True, slots=True)
class _Page:
    """Everything of the tenants, ready to be sent, in one format."""

    texts: tuple[tuple[bytes, ...], ...]
    deflated: tuple[bytes, ...]
    checksum: Checksum


def deflate(text: bytes) -> bytes:
    """Return `text` as raw deflate that ends on a byte and refers to nothing before it; nothing for no text."""
    if not text:
        return b""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH)


@dataclass(frozen=True, slots=True)
class _Rendered:
    """The tenants of a group, and their segments, one a family."""

    names: tuple[str, ...]
    segments: tuple[Segment, ...]

    def with_lines(self, name: str, blocks: Sequence[bytes]) -> _Rendered:
        """Return this with a tenant's lines, family by family, in place of those it had."""
        place = self.names.index(name) if name in self.names else len(self.names)
        return self._spliced(place, (name,), [(block,) for block in blocks])

    def without(self, name: str) -> _Rendered:
        return self._spliced(self.names.index(name), (), [()] * len(self.segments))

    def lines_of(self, name: str, family: int) -> bytes:
        """Return a tenant's lines of one family."""
        return self.segments[family].block(self.names.index(name))

    def deflated(self) -> _Rendered:
        """Return this with every segment compressed: once for all changes since the last time."""
        done = (
            segment if segment.deflated is not None else replace(segment, deflated=deflate(segment.text))
            for segment in self.segments
        )
        return _Rendered(self.names, tuple(done))

    def _spliced(self, place: int, names: tuple[str, ...], blocks: Sequence[tuple[bytes, ...]]) -> _Rendered:
        spliced = (_segment(segment, place, new) for segment, new in zip(self.segments, blocks, strict=True))
        return _Rendered((*self.names[:place], *names, *self.names[place + 1 :]), tuple(spliced))


class _Group:
    """Up to `_GROUP` tenants; what is rendered is exchanged as a whole, so that readers need no lock."""

    __slots__ = ("rendered",)

    def __init__(self, families: int) -> None:
        self.rendered = _Rendered((), (Segment(),) * families)


def _segment(before: Segment, place: int, blocks: tuple[bytes, ...]) -> Segment:
    """Return the segment with `blocks` in the place of one tenant's lines."""
    pieces = [before.block(position) for position in range(len(before.ends))]
    pieces[place : place + 1] = blocks
    text = b"".join(pieces)
    ends = tuple(accumulate(len(piece) for piece in pieces))
    return Segment(text, ends, before.deflated if text == before.text else None)


class Exposition:
    """Holds the rendered samples of every tenant and gives the body of a scrape.

    `put`, `drop` and `publish` are for the one thread that renders; `body` is for any, at any time.

    Args:
        families: the tenants' families, in the order of `/metrics`.
        process_metrics: the process's own series, rendered for each scrape.
    """

    def __init__(self, families: Sequence[Family], process_metrics: ProcessMetrics) -> None:
        self._families = tuple(families)
        self._process_metrics = process_metrics
        self._groups: list[_Group] = []
        self._group_of: dict[str, _Group] = {}
        self._changed: set[_Group] = set()
        self._regrouped = True
        self._headers = {
            openmetrics: tuple(
                (Segment(text, (), deflate(text)), Checksum.of(text))
                for text in (family_header(family, openmetrics=openmetrics) for family in self._families)
            )
            for openmetrics in (False, True)
        }
        self._pages: dict[bool, _Page] = {}
        self.publish()

    def put(self, tenant: str, samples: Iterable[Sample]) -> None:
        """Render a tenant's samples in place of those it had; seen from the next `publish` on."""
        by_family: dict[str, list[Sample]] = {}
        for sample in samples:
            by_family.setdefault(sample.family, []).append(sample)
        blocks = [lines(family, by_family.get(family.name, ())) for family in self._families]
        group = self._group_of.get(tenant)
        if group is None:
            if not self._groups or len(self._groups[-1].rendered.names) >= _GROUP:
                self._groups.append(_Group(len(self._families)))
                self._regrouped = True
            group = self._groups[-1]
        group.rendered = group.rendered.with_lines(tenant, blocks)
        self._group_of[tenant] = group
        self._changed.add(group)

    def drop(self, tenant: str) -> None:
        """Take a tenant's samples away; seen from the next `publish` on."""
        group = self._group_of.pop(tenant, None)
        if group is not None:
            group.rendered = group.rendered.without(tenant)
            self._changed.add(group)
            if not group.rendered.names:
                self._groups.remove(group)
                self._regrouped = True

    def publish(self) -> None:
        """Make what was put and dropped the answer of the next scrape."""
        for group in self._changed:
            group.rendered = group.rendered.deflated()
        if self._regrouped:
            columns = zip(*(group.rendered.segments for group in self._groups), strict=True)
            self._strips = tuple(map(_Strip, columns)) or (_Strip(),) * len(self._families)
        elif self._changed:
            places = {group: place for place, group in enumerate(self._groups) if group in self._changed}
            for number, strip in enumerate(self._strips):
                for group, place in places.items():
                    strip.replace(place, group.rendered.segments[number])
                strip.join()
        self._changed.clear()
        self._regrouped = False
        self._pages = {openmetrics: self._page(openmetrics=openmetrics) for openmetrics in (False, True)}

    def _page(self, *, openmetrics: bool) -> _Page:
        texts: list[tuple[bytes, ...]] = []
        deflated: list[bytes] = []
        checksum = Checksum()
        for (head, of_head), strip in zip(self._headers[openmetrics], self._strips, strict=True):
            if strip.texts:
                texts += [(head.text,), strip.texts]
                deflated += [head.deflated or b"", strip.deflated]
                checksum = checksum.then(of_head).then(strip.checksum)
        return _Page(tuple(texts), tuple(deflated), checksum)

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
        own = self._process_metrics.text(openmetrics=openmetrics)
        page = self._pages[openmetrics]
        if not gzip:
            return (*chain.from_iterable(page.texts), own)
        return _member(page.deflated, own, page.checksum.crc, page.checksum.length)

    def _chosen(self, tenants: Sequence[str], *, openmetrics: bool, gzip: bool) -> Sequence[bytes]:
        places: list[tuple[str, _Rendered]] = []
        for name in dict.fromkeys(tenants):
            group = self._group_of.get(name)
            rendered = group.rendered if group is not None else _Rendered((), ())
            if name not in rendered.names:
                raise UnknownTenantError(name)
            places.append((name, rendered))
        pieces: list[bytes] = []
        for i, (head, _) in enumerate(self._headers[openmetrics]):
            blocks = [rendered.lines_of(name, i) for name, rendered in places]
            if any(blocks):
                pieces += [head.text, *blocks]
        text = b"".join(pieces) + (EOF if openmetrics else b"")
        return _member((deflate(text),), b"", zlib.crc32(text), len(text)) if gzip else [text]


def _member(deflated: Sequence[bytes], last: bytes, crc: int, length: int) -> Sequence[bytes]:
    """Return one gzip member (RFC 1952): the ready pieces, then `last`.

    Args:
        deflated: raw deflate in pieces, each ended by a full flush.
        last: text that is not worth the time of compressing it.
        crc: of what `deflated` holds.
        length: of what `deflated` holds, in bytes.
    """
    trailer = struct.pack("<LL", zlib.crc32(last, crc), (length + len(last)) & 0xFFFFFFFF)
    return (_GZIP_HEADER, *deflated, _stored(last), trailer)


def _stored(text: bytes) -> bytes:
    """Return the end of a deflate stream that holds `text` as it is (RFC 1951, section 3.2.4)."""
    pieces = [text[start : start + _LARGEST_STORED] for start in range(0, len(text), _LARGEST_STORED)] or [b""]
    last = len(pieces) - 1
    return b"".join(
        struct.pack("<BHH", number == last, len(piece), len(piece) ^ _LARGEST_STORED) + piece
        for number, piece in enumerate(pieces)
    )
