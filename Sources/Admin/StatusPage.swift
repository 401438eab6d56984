// The status page: one document that needs nothing else. It asks for /status each second and draws what has
// changed. Its policy lets it load nothing from anywhere and talk to its own address alone.

package enum StatusPage {
  /// Script and style are in the document, and nothing that came from outside is ever written as markup.
  package static let policy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    + "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

  package static var response: AdminResponse {
    AdminResponse(
      200, type: "text/html; charset=utf-8", document,
      fields: ["Content-Security-Policy: \(policy)", "Referrer-Policy: no-referrer"])
  }

  static let document = """
    <!doctype html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>Millrace status</title>
    <link rel="icon" href="data:,">
    <style>
    \(style)
    </style>
    </head>
    <body>
    \(markup)
    <script>
    "use strict";
    \(drawing)
    \(script)
    </script>
    </body>
    </html>

    """

  private static let markup = """
    <header>
      <h1>Millrace</h1>
      <span id="phase" class="badge" role="status">connecting</span>
      <p id="facts"></p>
    </header>
    <main>
      <p id="problem" role="alert" hidden></p>
      <section class="tiles" aria-label="Now">
        <div><b id="t-rate">–</b><span>requests/s</span></div>
        <div><b id="t-p50">–</b><span>p50</span></div>
        <div><b id="t-p99">–</b><span>p99</span></div>
        <div><b id="t-errors">–</b><span>5xx/s</span></div>
        <div><b id="t-active">–</b><span>active requests</span></div>
        <div><b id="t-connections">–</b><span>connections</span></div>
      </section>
      <section class="plots">
        <figure><figcaption>Requests per second</figcaption><div id="p-rate" class="plot"></div></figure>
        <figure><figcaption>Latency</figcaption><div id="p-latency" class="plot"></div></figure>
        <figure><figcaption>Responses per second, by status class</figcaption><div id="p-classes" class="plot"></div></figure>
        <figure><figcaption>Audit commit latency</figcaption><div id="p-audit" class="plot"></div></figure>
        <figure><figcaption>Worker turns per second</figcaption><div id="p-turns" class="plot"></div></figure>
        <figure><figcaption>Completions per turn (batch size)</figcaption><div id="p-batch" class="plot"></div></figure>
      </section>
      <section><h2>Upstreams</h2><div class="scroll"><table id="servers"><thead><tr>
        <th>server</th><th>state</th><th>req/s</th><th>5xx/s</th><th>failures/s</th><th>active</th><th>idle</th><th>requests</th>
      </tr></thead><tbody></tbody></table></div></section>
      <section><h2>Routes</h2><div class="scroll"><table id="routes"><thead><tr>
        <th>route</th><th>upstream</th><th>req/s</th><th>2xx</th><th>3xx</th><th>4xx</th><th>5xx</th>
      </tr></thead><tbody></tbody></table></div></section>
      <section class="columns">
        <div><h2>How exchanges end</h2><div id="endings" class="bars"></div></div>
        <div><h2>Limits</h2><div id="limits" class="bars"></div></div>
      </section>
      <section><h2>Workers</h2><div class="scroll"><table id="workers"><thead><tr>
        <th>worker</th><th>req/s</th><th>turns/s</th><th>per turn</th><th>calls/s</th><th>connections</th><th>active</th>
      </tr></thead><tbody></tbody></table></div></section>
      <section><h2>Listeners</h2><div class="scroll"><table id="listeners"><thead><tr>
        <th>listener</th><th>address</th><th>protocol</th><th>accepted</th><th>requests</th><th>TLS failures</th>
      </tr></thead><tbody></tbody></table></div></section>
      <section><h2>Engine</h2><p id="features"></p></section>
    </main>
    """

  private static let style = """
    :root{--ground:#fff;--panel:#f5f6f8;--ink:#1a1d21;--soft:#5b6470;--line:#d8dce2;--good:#1a7f4b;--bad:#b42318;
    --warn:#8a5a00;--c0:#1f6feb;--c1:#1a7f4b;--c2:#b26a00;--c3:#b42318;--c4:#7a3fc0}
    @media(prefers-color-scheme:dark){:root{--ground:#111418;--panel:#1a1f25;--ink:#e8ebef;--soft:#9aa4b1;
    --line:#323a44;--good:#4cc38a;--bad:#ff8a80;--warn:#e5b567;--c0:#6cb0ff;--c1:#4cc38a;--c2:#f0a850;
    --c3:#ff8a80;--c4:#c39bff}}
    *{box-sizing:border-box}
    body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
    header,main{max-width:1240px;margin:0 auto;padding:0 16px}
    header{display:flex;flex-wrap:wrap;align-items:center;gap:4px 12px;padding-top:14px}
    h1{font-size:20px;margin:0}h2{font-size:15px;margin:22px 0 6px}
    #facts{color:var(--soft);margin:0;flex:1 1 300px;overflow-wrap:anywhere}
    .badge{border:1px solid currentColor;border-radius:10px;padding:0 9px;font-size:13px;color:var(--soft)}
    .good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
    #problem{border-left:4px solid var(--bad);background:var(--panel);padding:8px 12px}
    .tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(110px,1fr));gap:8px;margin:14px 0}
    .tiles div,figure{background:var(--panel);border-radius:8px;padding:8px 12px}
    .tiles b{display:block;font-size:22px;font-variant-numeric:tabular-nums;white-space:nowrap}
    .tiles span{color:var(--soft);font-size:13px}
    .plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:10px}
    figure{margin:0;min-width:0}figcaption{font-size:13px;color:var(--soft)}
    .plot{min-height:150px}.plot svg{display:block;width:100%;height:125px}
    .plot text{fill:var(--soft);font-size:11px}.plot .grid{stroke:var(--line)}
    .plot polyline{fill:none;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
    .legend{display:flex;flex-wrap:wrap;gap:0 12px;font-size:12px;min-height:22px}
    .legend i{display:inline-block;width:10px;height:3px;margin-right:4px;vertical-align:middle}
    .scroll{overflow-x:auto}
    table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
    th,td{text-align:right;padding:4px 10px;border-bottom:1px solid var(--line);white-space:nowrap}
    th{font-weight:600;font-size:13px;color:var(--soft)}
    th:first-child,td:first-child,#servers :nth-child(2),#routes :nth-child(2),#listeners :nth-child(2){text-align:left}
    .columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:0 24px}
    .bars div{display:grid;grid-template-columns:minmax(90px,200px) 1fr auto;gap:10px;align-items:center;padding:2px 0}
    .bars span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
    .bars meter{width:100%;height:12px}
    #features{color:var(--soft);overflow-wrap:anywhere}
    """
}
