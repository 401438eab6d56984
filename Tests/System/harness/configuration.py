"""Configurations for the tests as plain dictionaries, and the YAML that the proxy reads.

Block style, every text quoted: what the proxy's loader makes of unusual YAML is the matter of the
tests of configuration errors, which write their files by hand.
"""

import json


def render(value, indent=0):
    """YAML for a dictionary, in the order of its keys."""
    pad = "  " * indent
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines.append(f"{pad}{key}:")
            lines.append(render(item, indent + 1))
        elif isinstance(item, list) and item:
            lines.append(f"{pad}{key}:")
            lines.extend(_items(item, indent + 1))
        else:
            lines.append(f"{pad}{key}: {_scalar(item)}")
    return "\n".join(lines)


def _items(items, indent):
    pad = "  " * indent
    for item in items:
        if isinstance(item, dict):
            first, *others = render(item, indent + 1).split("\n")
            yield f"{pad}- {first.strip()}"
            yield from others
        else:
            yield f"{pad}- {_scalar(item)}"


def _scalar(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value in ([], {}):
        return json.dumps(value)
    return json.dumps(value, ensure_ascii=False)


def listener(port, tls=None, name="edge", address="127.0.0.1", timeouts=None):
    """One listener; `tls` is a list of (certificate, key) paths, or a whole mapping."""
    result = {"name": name, "address": f"{address}:{port}"}
    if isinstance(tls, dict):
        result["tls"] = tls
    elif tls:
        result["tls"] = {
            "certificates": [{"certificate": str(c), "key": str(k)} for c, k in tls],
        }
    if timeouts:
        result["timeouts"] = timeouts
    return result


def upstream(*ports, **others):
    """One upstream on loopback ports (or whole addresses)."""
    servers = [port if isinstance(port, str) else f"127.0.0.1:{port}" for port in ports]
    # Longer than any test: a pooled connection that is closed for its age would move the counters.
    timeouts = {"connect": "5s", "response": "60s", "idle": "1h"}
    timeouts.update(others.pop("timeouts", {}))
    return {"servers": servers, **others, "timeouts": timeouts}
