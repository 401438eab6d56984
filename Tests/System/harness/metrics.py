"""The metrics that a proxy shares in a sealed file in memory, read by their description alone.

The layout is MetricLayout.swift's; this reader is a second one, which knows no family by name.
"""

import os
import struct

VARIABLE = "MILLRACE_METRICS_DESCRIPTOR"


class MetricFile:
    """A file in memory for one proxy: `environment` and `descriptors` are for its start."""

    def __init__(self):
        self.descriptor = os.memfd_create("millrace-metrics", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    @property
    def environment(self):
        return {VARIABLE: str(self.descriptor)}

    @property
    def descriptors(self):
        return (self.descriptor,)

    def close(self):
        os.close(self.descriptor)

    def read(self):
        """({(name, (label, value)...): [a value per worker]}, notes)."""
        data = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)
        words = struct.unpack_from("<13Q", data)
        assert data[:8] == b"METRICS1" and words[1] == 1, words
        assert words[2] == len(data), (words[2], len(data))
        columns = [self._column(data, words[3] + i * 512) for i in range(words[4])]
        figures = {}
        for i in range(words[6]):
            at = words[5] + i * 128
            first, width, rows_at, _, rows, cell, _, dimensions = struct.unpack_from("<8Q", data, at)
            names = [_text(data, at + 64 + 32 * j) for j in range(dimensions)]
            for row in range(rows):
                labels = [
                    (name, _text(data, rows_at + row * 512 + 256 * j))
                    for j, name in enumerate(names)
                ]
                for column in range(width):
                    name, own = columns[first + column]
                    place = (cell + row * width + column) * 8
                    figures[(name, *sorted(labels + own))] = [
                        struct.unpack_from("<Q", data, words[7] + block * words[8] + place)[0]
                        for block in range(words[9])
                    ]
        notes = {
            _text(data, words[10] + i * 512): _text(data, words[10] + i * 512 + 64)
            for i in range(words[12])
        }
        return figures, notes

    def _column(self, data, at):
        label = _text(data, at + 128)
        return _text(data, at + 16), [(label, _text(data, at + 160))] if label else []


def _text(data, at):
    (length,) = struct.unpack_from("<H", data, at)
    return data[at + 2 : at + 2 + length].decode()
