// What the status page does: asks, compares with the look before, and draws. Texts of the status, such as the names
// of routes, only ever become text nodes.

extension StatusPage {
  /// Plots: a few lines over the last minutes, as SVG.
  static let drawing = #"""
    const KEPT = 180;
    const byId = id => document.getElementById(id);
    const make = (name, text) => {
      const node = document.createElement(name);
      if (text !== undefined) node.textContent = text;
      return node;
    };
    const svg = (name, facts, text) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const key in facts) node.setAttribute(key, facts[key]);
      if (text !== undefined) node.textContent = text;
      return node;
    };
    const number = value => value === null || !isFinite(value) ? "–"
      : value >= 1e6 ? (value / 1e6).toFixed(1) + "M" : value >= 1e5 ? (value / 1e3).toFixed(0) + "k"
      : value >= 10 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
    const time = value => value === null || !isFinite(value) ? "–"
      : value < 0.001 ? (value * 1e6).toFixed(0) + " µs" : value < 1 ? (value * 1e3).toFixed(value < 0.01 ? 2 : 0) + " ms"
      : value.toFixed(2) + " s";
    class Plot {
      constructor(id, format) {
        this.root = byId(id); this.format = format; this.lines = new Map(); this.count = 0;
      }
      add(values) {
        this.count++;
        for (const name in values) {
          if (!this.lines.has(name)) this.lines.set(name, new Array(Math.min(this.count - 1, KEPT)).fill(null));
        }
        for (const [name, line] of this.lines) {
          line.push(name in values ? values[name] : null);
          if (line.length > KEPT) line.shift();
        }
        this.draw();
      }
      draw() {
        const width = Math.max(this.root.clientWidth, 100), height = 125, left = 52;
        const all = [...this.lines.values()].flat().filter(value => value !== null && isFinite(value));
        const picture = svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img"});
        const legend = make("div"); legend.className = "legend";
        if (!all.length) {
          picture.append(svg("text", {x: left, y: 60}, "no data"));
          this.root.replaceChildren(picture, legend);
          return;
        }
        const top = Math.max(...all) * 1.1 || 1;
        for (let i = 0; i <= 2; i++) {
          const y = 8 + (height - 16) * i / 2;
          picture.append(svg("line", {x1: left, x2: width, y1: y, y2: y, class: "grid"}));
          picture.append(svg("text", {x: left - 6, y: y + 4, "text-anchor": "end"}, this.format(top * (1 - i / 2))));
        }
        let colour = 0;
        for (const [name, line] of this.lines) {
          const stroke = `var(--c${colour++ % 5})`;
          let points = [];
          const flush = () => {
            if (points.length === 1) points.push(points[0]);
            if (points.length) picture.append(svg("polyline", {points: points.join(" "), style: `stroke:${stroke}`}));
            points = [];
          };
          line.forEach((value, i) => {
            if (value === null || !isFinite(value)) return flush();
            const x = left + (width - left) * (KEPT - line.length + i) / (KEPT - 1);
            points.push(`${x.toFixed(1)},${(8 + (height - 16) * (1 - value / top)).toFixed(1)}`);
          });
          flush();
          const last = line[line.length - 1];
          const item = make("span"), mark = make("i");
          mark.style.background = stroke;
          item.append(mark, `${name} ${last === null ? "–" : this.format(last)}`);
          legend.append(item);
        }
        this.root.replaceChildren(picture, legend);
      }
    }
    """#

  static let script = #"""
    const plots = {
      rate: new Plot("p-rate", number), latency: new Plot("p-latency", time),
      classes: new Plot("p-classes", number), audit: new Plot("p-audit", time),
      turns: new Plot("p-turns", number), batch: new Plot("p-batch", value => value.toFixed(1)),
    };
    const CLASSES = ["2xx", "3xx", "4xx", "5xx"];
    const sum = values => values.reduce((a, b) => a + b, 0);
    const grown = (now, old) => Math.max(0, now - (old || 0));
    const quantile = (share, counts, bounds) => {
      const total = sum(counts);
      if (!total) return null;
      let below = 0;
      for (let i = 0; i < bounds.length; i++) {
        if (counts[i] > 0 && below + counts[i] >= share * total) {
          const low = i ? bounds[i - 1] : 0;
          return low + (bounds[i] - low) * (share * total - below) / counts[i];
        }
        below += counts[i];
      }
      return bounds[bounds.length - 1];
    };
    const difference = (now, old) => now.map((value, i) => grown(value, old && old[i]));
    const together = (status, old, name) => {
      const counts = [];
      for (const upstream of status.upstreams) {
        const before = old.upstreams.find(other => other.name === upstream.name);
        if (before) difference(upstream[name].counts, before[name].counts).forEach((n, i) => counts[i] = (counts[i] || 0) + n);
      }
      return counts;
    };
    const answers = responses => sum(CLASSES.map(name => responses[name]));
    const rows = (id, list) => byId(id).tBodies[0].replaceChildren(...list.map(cells => {
      const row = make("tr");
      for (const cell of cells) {
        const td = make("td", Array.isArray(cell) ? cell[0] : cell);
        if (Array.isArray(cell)) td.className = cell[1];
        row.append(td);
      }
      return row;
    }));
    const bars = (id, list, none) => byId(id).replaceChildren(...(list.length ? list.map(([name, share, text]) => {
      const row = make("div"), meter = make("meter");
      meter.min = 0; meter.max = 1; meter.value = share; meter.title = text;
      const label = make("span", name); label.title = name;
      row.append(label, meter, make("b", text));
      return row;
    }) : [make("p", none)]));
    const COLOURS = {up: "good", down: "bad", drain: "warn", maintenance: "warn"};
    const words = seconds => seconds >= 86400 ? `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600 % 24)} h`
      : seconds >= 3600 ? `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60 % 60)} min`
      : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
    function head(s, span, old) {
      const phase = byId("phase");
      phase.textContent = s.phase;
      phase.className = "badge " + (s.phase === "serving" ? "good" : "warn");
      const cpu = old ? grown(s.process.cpu_seconds, old.process.cpu_seconds) / span * 100 : null;
      byId("facts").textContent = `version ${s.version} · ${s.engine.kind} · ${s.workers.length} workers · up ${words(s.uptime_seconds)}`
        + ` · generation ${s.generation} · ${(s.process.resident_bytes / 1048576).toFixed(0)} MiB`
        + (cpu === null ? "" : ` · CPU ${cpu.toFixed(0)} %`) + ` · ${s.process.descriptors} descriptors`;
      byId("features").textContent = s.engine.kind + ": " + s.engine.features.map(
        f => `${f.name} ${f.state}${f.why ? ` (${f.why})` : ""}`).join(", ");
    }
    function figures(s, span, old) {
      const rate = name => grown(s.totals[name], old.totals[name]) / span;
      const bounds = s.latency_bounds_seconds;
      const counts = together(s, old, "duration");
      const first = together(s, old, "first_byte");
      const classes = {};
      for (const name of CLASSES) {
        classes[name] = sum(s.listeners.map(l => {
          const before = old.listeners.find(other => other.address === l.address);
          return before ? grown(l.responses[name], before.responses[name]) : 0;
        })) / span;
      }
      const p50 = quantile(0.5, counts, bounds), p99 = quantile(0.99, counts, bounds);
      plots.rate.add({requests: rate("requests"), retries: rate("retries")});
      plots.latency.add({p50, p90: quantile(0.9, counts, bounds), p99, "first byte p99": quantile(0.99, first, bounds)});
      plots.classes.add(classes);
      if (s.audit) {
        const commits = difference(s.audit.commit.counts, old.audit && old.audit.commit.counts);
        plots.audit.add({p50: quantile(0.5, commits, bounds), p99: quantile(0.99, commits, bounds)});
      }
      const turns = {}, batch = {};
      s.workers.slice(0, 5).forEach((w, i) => {
        const before = old.workers[i] || w, n = grown(w.turns, before.turns);
        turns["worker " + w.worker] = n / span;
        batch["worker " + w.worker] = n ? grown(w.completions, before.completions) / n : null;
      });
      plots.turns.add(turns); plots.batch.add(batch);
      byId("t-rate").textContent = number(rate("requests"));
      byId("t-p50").textContent = time(p50); byId("t-p99").textContent = time(p99);
      byId("t-errors").textContent = number(classes["5xx"]);
      byId("t-errors").className = classes["5xx"] > 0 ? "bad" : "";
      byId("t-active").textContent = number(s.totals.exchanges);
      byId("t-connections").textContent = number(s.totals.connections);
    }
    function tables(s, span, old) {
      const known = new Map();
      for (const u of old.upstreams) for (const v of u.servers) known.set(u.name + "/" + v.address, v);
      rows("servers", s.upstreams.flatMap(u => u.servers.map(v => {
        const b = known.get(u.name + "/" + v.address) || v;
        return [u.name + "/" + v.address, [v.state, COLOURS[v.state] || ""], number(grown(v.requests, b.requests) / span),
          number(grown(v.responses["5xx"], b.responses["5xx"]) / span), number(grown(v.failures, b.failures) / span),
          v.active, v.idle, v.requests];
      })));
      const routes = new Map(old.routes.map(r => [r.route + " " + r.upstream, r]));
      rows("routes", s.routes.map(r => {
        const b = routes.get(r.route + " " + r.upstream) || r;
        return [r.route, r.upstream, number(grown(answers(r.responses), answers(b.responses)) / span),
          ...CLASSES.map(name => r.responses[name])];
      }));
      rows("workers", s.workers.map((w, i) => {
        const b = old.workers[i] || w, turns = grown(w.turns, b.turns);
        return [w.worker, number(grown(w.requests, b.requests) / span), number(turns / span),
          turns ? (grown(w.completions, b.completions) / turns).toFixed(1) : "–",
          number(grown(w.system_calls, b.system_calls) / span), w.connections, w.exchanges];
      }));
      rows("listeners", s.listeners.map(l => [l.name, l.address, l.protocol + (l.tls ? " + TLS" : ""), l.accepted, l.requests,
        [l.handshake_failures, l.handshake_failures ? "warn" : ""]]));
      const total = sum(Object.values(s.terminations));
      bars("endings", Object.entries(s.terminations).sort((a, b) => b[1] - a[1]).map(
        ([name, n]) => [name, n / total, `${n}`]), "nothing has ended yet");
      bars("limits", Object.entries(s.limits).filter(([, l]) => l.limit).map(
        ([name, l]) => [name, l.use / l.limit, `${l.use} of ${l.limit}`]), "");
    }
    let last = null;
    async function look() {
      const problem = byId("problem");
      try {
        const response = await fetch("/status.json", {cache: "no-store"});
        if (!response.ok) throw new Error(`status ${response.status}`);
        const s = await response.json();
        const old = last && last.pid === s.pid ? last : null;
        const span = old ? Math.max((s.now_nanoseconds - old.now_nanoseconds) / 1e9, 0.001) : 1;
        last = s;
        head(s, span, old);
        if (old) figures(s, span, old);
        tables(s, span, old || s);
        problem.hidden = true;
      } catch (error) {
        byId("phase").textContent = "no answer"; byId("phase").className = "badge bad";
        problem.textContent = `The proxy does not answer (${error.message}). The figures below are old.`;
        problem.hidden = false;
      }
      setTimeout(look, document.hidden ? 5000 : 1000);
    }
    addEventListener("resize", () => Object.values(plots).forEach(plot => plot.draw()));
    Object.values(plots).forEach(plot => plot.draw());
    look();
    """#
}
