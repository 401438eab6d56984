"""What a person reads and what a program reads: one table for each row, the bars, and the JSON.
Medians over rounds; a ratio is taken within each round first, because this is what noise spares."""

from statistics import median

COLUMNS = ("", "CPU µs/req", "user", "sys", "of nginx", "range", "machine µs", "req/s",
           "p50 µs", "p99 µs", "failed")


def summarise(samples, base):
    """One subject's samples of one row, `base` being nginx's by round number, as a dict."""
    def middle(key):
        values = [sample[key] for sample in samples if sample[key] is not None]
        return median(values) if values else None

    summary = {key: middle(key) for key in
               ("cpu", "user", "system", "machine", "rate", "p50", "p99")}
    summary["requests"] = sum(sample["requests"] for sample in samples)
    summary["failures"] = sum(sample["failures"] for sample in samples)
    ratios = [sample["cpu"] / base[sample["round"]] for sample in samples
              if sample["cpu"] is not None and sample["round"] in base]
    if ratios:
        summary |= {"ratio": median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}
    return summary


def audit_ratios(by_subject, engine):
    """Machine time of audit over no audit, each less the share of the load and the origin, by
    round: what the log costs where kernel threads and the disk's interrupts are counted too."""
    def by_round(name):
        return {sample["round"]: sample["machine"] for sample in by_subject.get(name, ())}

    audited = by_round(f"millrace-{engine}-audit")
    bare = by_round(f"millrace-{engine}")
    floor = by_round("no-proxy")
    return [(audited[n] - floor[n]) / (bare[n] - floor[n])
            for n in sorted(audited) if n in bare and n in floor and bare[n] > floor[n]]


def _number(value, digits=1):
    return "-" if value is None else f"{value:.{digits}f}"


def table(row, summaries):
    """The row's table as lines."""
    cells = [COLUMNS]
    for name, one in summaries.items():
        ratio = one.get("ratio")
        spread = f"{one['ratio_low']:.2f}-{one['ratio_high']:.2f}" if ratio is not None else "-"
        cells.append((name, _number(one["cpu"]), _number(one["user"]), _number(one["system"]),
                      _number(ratio, 2), spread, _number(one["machine"]), _number(one["rate"], 0),
                      _number(one["p50"], 0), _number(one["p99"], 0), str(one["failures"])))
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    pace = f"{row.rate} requests/s" if row.rate else "closed loop"
    lines = ["", f"{row.name}: {row.title}, {row.connections} connections, {pace}"]
    for line in cells:
        first = line[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))
        lines.append("  " + "  ".join([first, *rest]))
    return lines


def _cpu_bars(row, summaries, by_subject):
    for name, one in summaries.items():
        if not name.startswith("millrace") or name.endswith("-audit"):
            continue
        if row.nginx_bar is not None and one.get("ratio") is not None:
            text = f"{name}: CPU per request {one['ratio']:.2f} of nginx, bar {row.nginx_bar:.2f}"
            yield text, one["ratio"] <= row.nginx_bar
        forwarder = by_subject.get(name.replace("millrace", "forwarder"), ())
        base = {sample["round"]: sample["cpu"] for sample in forwarder}
        ratios = [sample["cpu"] / base[sample["round"]] for sample in by_subject[name]
                  if sample["round"] in base]
        if row.forwarder_bar is not None and ratios:
            text = (f"{name}: CPU per request {median(ratios):.2f} of the bare forwarder on the"
                    f" same engine, bar {row.forwarder_bar:.2f}")
            yield text, median(ratios) <= row.forwarder_bar


def _audit_bars(row, by_subject):
    for engine in ("io_uring", "epoll"):
        ratios = audit_ratios(by_subject, engine)
        if not ratios:
            continue
        text = (f"millrace-{engine}: machine time with the audit log {median(ratios):.2f} of"
                " without, less the no-proxy share")
        if row.audit_bar is None:
            yield text, None
        else:
            yield f"{text}, bar {row.audit_bar:.2f}", median(ratios) <= row.audit_bar


def bars(row, summaries, by_subject):
    """Each bar of the row as (text, met); `met` is None where the row has a figure and no bar."""
    return [*_cpu_bars(row, summaries, by_subject), *_audit_bars(row, by_subject)]


def bar_lines(found):
    words = {True: "met", False: "NOT MET", None: "no bar in this row"}
    return [f"  {text}: {words[met]}" for text, met in found]
