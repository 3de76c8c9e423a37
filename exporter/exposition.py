"""The bytes of `/metrics`, rendered when the data change and not when they are scraped.

Every tenant has a slot, and 64 slots are a group. A group's samples of one family are one text, kept as it is and as a
piece of a gzip stream. A poll renders its tenant and compresses its group's texts; a scrape joins ready pieces, and
adds the process's own few series as they are, in one gzip member: a second one breaks `curl --compressed`.

The sample lines of both formats are the same, so they are written here, once, and not twice by prometheus-client; a
property test holds each line against its writers.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

import struct
import threading
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.utils import floatToGoString

from exporter.metrics import TENANT_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exporter.metrics import Family, Sample

EOF = b"# EOF\n"
"""What ends an exposition in OpenMetrics."""

_GROUP = 64
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LEVEL = 6
_LARGEST_STORED = 0xFFFF


def lines(family: Family, samples: Iterable[Sample]) -> bytes:
    """Return the lines of a family's samples."""
    name = family.full_name
    places = sorted((label, place) for place, label in enumerate(family.labels))
    made = [
        line(series(name, [(label, sample.labels[place]) for label, place in places]), sample.value)
        for sample in samples
    ]
    return "".join(made).encode("utf-8")


def series(name: str, labels: Iterable[tuple[str, str]]) -> str:
    """Return what the lines of one series begin with, in either format: its name and its labels, sorted by name."""
    pairs = ",".join([f'{label}="{_escaped(value)}"' for label, value in labels])
    return f"{name}{{{pairs}}}" if pairs else name


def line(series: str, value: float) -> str:
    return f"{series} {floatToGoString(value)}\n"  # type: ignore[no-untyped-call]


def family_header(family: Family, *, openmetrics: bool) -> bytes:
    """Return a family's HELP and TYPE lines."""
    return header(family.full_name, family.type, family.help, openmetrics=openmetrics)


@lru_cache(256)
def header(name: str, kind: str, help_: str, *, openmetrics: bool) -> bytes:
    """Return the HELP and TYPE lines of a gauge or counter, which has a name with `_total`."""
    text = help_.replace("\\", "\\\\").replace("\n", "\\n")
    if openmetrics:
        text = text.replace('"', '\\"')
        name = name.removesuffix("_total") if kind == "counter" else name
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n".encode()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


class UnknownTenantError(LookupError):
    """A scrape asked for a tenant that is not configured."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown tenant {name!r}")


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


_EMPTY = Checksum()


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
    """The lines of one family, in groups of slots; those of all groups in order are what a scrape shows.

    Attributes:
        texts: the groups' lines, as of the last `publish`.
        deflated: the same as raw deflate that anything may follow.
        checksum: of the lines.
    """

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._bounds: list[tuple[int, ...]] = []  # of each slot's lines within its group's text
        self._deflated: list[bytes] = []
        self._sums: dict[tuple[int, int], Checksum] = {}
        self._changed: set[int] = set()
        self.texts: tuple[bytes, ...] = ()
        self.deflated = b""
        self.checksum = _EMPTY

    def lines(self, slot: int) -> bytes:
        """Return the lines in a slot."""
        group, place = divmod(slot, _GROUP)
        begin, end = self._bounds[group][place : place + 2]
        return self._texts[group][begin:end]

    def put(self, slot: int, lines: bytes) -> None:
        """Put lines into a slot, in place of those that it held; slots come into use one after the other."""
        group, place = divmod(slot, _GROUP)
        if group == len(self._texts):
            self._texts.append(b"")
            self._bounds.append((0,) * (_GROUP + 1))
            self._deflated.append(b"")
        text, bounds = self._texts[group], self._bounds[group]
        begin, end = bounds[place : place + 2]
        if text[begin:end] != lines:
            longer = len(lines) - (end - begin)
            self._texts[group] = text[:begin] + lines + text[end:]
            self._bounds[group] = (*bounds[: place + 1], *(bound + longer for bound in bounds[place + 1 :]))
            self._changed.add(group)

    def publish(self) -> None:
        """Show what was put."""
        if not self._changed:
            return
        for group in self._changed:
            self._deflated[group] = deflate(self._texts[group])
            self._sums[0, group] = Checksum.of(self._texts[group])
        # The sum of a node is that of the two below it, so that the texts of other groups need not be read.
        height = max(len(self._texts) - 1, 0).bit_length()
        nodes = self._changed
        for level in range(height):
            nodes = {node // 2 for node in nodes}
            for node in nodes:
                left, right = (self._sums.get((level, one), _EMPTY) for one in (2 * node, 2 * node + 1))
                self._sums[level + 1, node] = left.then(right)
        self.texts = tuple(filter(None, self._texts))
        self.deflated = b"".join(self._deflated)
        self.checksum = self._sums.get((height, 0), _EMPTY)
        self._changed = set()


class _Page(NamedTuple):
    """Everything of the tenants, ready to be sent, in one format."""

    texts: tuple[bytes, ...] = ()
    deflated: tuple[bytes, ...] = ()
    checksum: Checksum = _EMPTY


class Exposition:
    """Holds the rendered samples of every tenant and gives the body of a scrape.

    `put`, `drop` and `publish` are for the one thread that renders; `body` is for any, at any time.
    """

    def __init__(self) -> None:
        self._strips = [_Strip() for _ in TENANT_FAMILIES]
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._lock = threading.Lock()
        self._headers = {
            openmetrics: [
                (text, deflate(text), Checksum.of(text))
                for text in (family_header(family, openmetrics=openmetrics) for family in TENANT_FAMILIES)
            ]
            for openmetrics in (False, True)
        }
        self._pages = {False: _Page(), True: _Page()}

    def put(self, tenant: str, samples: Iterable[Sample]) -> None:
        """Render a tenant's samples in place of those it had; a scrape of all shows them after the next `publish`."""
        by_family: dict[str, list[Sample]] = {}
        for sample in samples:
            by_family.setdefault(sample.family, []).append(sample)
        made = [lines(family, by_family.get(family.name, ())) for family in TENANT_FAMILIES]
        with self._lock:
            if tenant not in self._slots:
                self._slots[tenant] = self._free.pop() if self._free else len(self._slots)
            for strip, text in zip(self._strips, made, strict=True):
                strip.put(self._slots[tenant], text)

    def drop(self, tenant: str) -> None:
        """Take a tenant's samples away; a scrape of all shows that after the next `publish`."""
        with self._lock:
            slot = self._slots.pop(tenant, None)
            if slot is not None:
                self._free.append(slot)
                for strip in self._strips:
                    strip.put(slot, b"")

    def publish(self) -> None:
        """Make what was put and dropped the answer of the next scrape."""
        for strip in self._strips:
            strip.publish()
        self._pages = {openmetrics: self._page(headers) for openmetrics, headers in self._headers.items()}

    def _page(self, headers: Iterable[tuple[bytes, bytes, Checksum]]) -> _Page:
        texts: list[bytes] = []
        deflated: list[bytes] = []
        checksum = _EMPTY
        for (text, piece, of_text), strip in zip(headers, self._strips, strict=True):
            if strip.texts:
                texts += [text, *strip.texts]
                deflated += [piece, strip.deflated]
                checksum = checksum.then(of_text).then(strip.checksum)
        return _Page(tuple(texts), tuple(deflated), checksum)

    def body(self, own: bytes, *, openmetrics: bool, gzip: bool) -> Sequence[bytes]:
        """Return the body of a scrape, in pieces.

        Args:
            own: the process's own series.
            openmetrics: OpenMetrics 1.0.0 in place of text 0.0.4.
            gzip: as one gzip member (RFC 1952).
        """
        page = self._pages[openmetrics]
        last = own + EOF if openmetrics else own
        if not gzip:
            return (*page.texts, last)
        trailer = struct.pack(
            "<LL", zlib.crc32(last, page.checksum.crc), (page.checksum.length + len(last)) & 0xFFFFFFFF
        )
        # Level 0: these few lines are not worth the time of compressing them.
        return (_GZIP_HEADER, *page.deflated, zlib.compress(last, 0, -zlib.MAX_WBITS), trailer)

    def of_tenants(self, tenants: Iterable[str], *, openmetrics: bool, gzip: bool) -> bytes:
        """Return the body of a scrape of these tenants' series only, in either form.

        Raises:
            UnknownTenantError: one of `tenants` is not configured.
        """
        pieces: list[bytes] = []
        names = dict.fromkeys(tenants)
        with self._lock:
            for name in names:
                if name not in self._slots:
                    raise UnknownTenantError(name)
            for (header, _, _), strip in zip(self._headers[openmetrics], self._strips, strict=True):
                if block := b"".join(strip.lines(self._slots[name]) for name in names):
                    pieces += [header, block]
        text = b"".join(pieces) + (EOF if openmetrics else b"")
        return zlib.compress(text, _LEVEL, 16 + zlib.MAX_WBITS) if gzip else text


def deflate(text: bytes) -> bytes:
    """Return `text` as raw deflate that ends on a byte and refers to nothing before it; nothing for no text."""
    if not text:
        return b""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH)
