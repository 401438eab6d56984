// The report's style sheet. Colours are variables, set once for light and once for dark. Series colours
// are Okabe and Ito's, which the colour-blind tell apart, moved in lightness until each has a contrast of
// 3 against its ground; text has 4.5 or more (the report's test measures it in a browser).

enum ReportStyle {
  private static let light = """
    --ground: #ffffff; --panel: #f5f6f8; --ink: #1a1d21; --soft: #545b64; --edge: #d3d8de;
    --grid: #e3e6ea; --band: #d8e6f3; --link: #0b5394; --good: #006b4f; --bad: #a53000; --open: #5b5f66;
    --s0: #0072b2; --s1: #c04a00; --s2: #00835f; --s3: #a8467f; --s4: #8a6d00; --s5: #3f7fa6;
    --s6: #5f5f5f; --s7: #6a4fb3; --user: #0b4f7d; --system: #6aaed6; --machine: #9aa3ad;
    """
  private static let dark = """
    --ground: #14171a; --panel: #1d2125; --ink: #e8eaed; --soft: #a9b1ba; --edge: #3a4149;
    --grid: #2a3036; --band: #22384c; --link: #8ec5f4; --good: #4fd1a5; --bad: #ff9b6b; --open: #b3bac2;
    --s0: #56b4e9; --s1: #f08a4b; --s2: #2fc79b; --s3: #e08bbe; --s4: #e6c229; --s5: #8fd0ea;
    --s6: #b0b0b0; --s7: #b39ddb; --user: #56b4e9; --system: #2b6a92; --machine: #6b747e;
    """
  /// Dash patterns by series: a line is told by them where colour does not tell.
  private static let dashes = ["none", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 4", "6 2 2 2"]

  static var css: String {
    var series = ""
    for (i, dash) in dashes.enumerated() {
      series += ".line.s\(i){stroke:var(--s\(i));stroke-dasharray:\(dash)}"
      series += ".mark.s\(i),.bar.s\(i){fill:var(--s\(i));stroke:var(--s\(i))}\n"
    }
    return """
      :root{color-scheme:light;\(light)}
      @media (prefers-color-scheme:dark){:root:not([data-theme=light]){color-scheme:dark;\(dark)}}
      :root[data-theme=dark]{color-scheme:dark;\(dark)}
      \(page)
      \(series)\(plots)\(print)
      """
  }

  private static let page = """
    *{box-sizing:border-box}
    html{font:16px/1.5 system-ui,sans-serif;background:var(--ground);color:var(--ink);
    -webkit-text-size-adjust:100%}
    body{margin:0 auto;padding:1rem;max-width:70rem;overflow-wrap:anywhere}
    h1{font-size:1.05rem;margin:0;font-weight:600;color:var(--soft)}
    h2{font-size:1.3rem;margin:2.5rem 0 .5rem;border-top:1px solid var(--edge);padding-top:1rem}
    h3{font-size:1.05rem;margin:0}
    p{margin:.4rem 0;max-width:46rem}
    a{color:var(--link)}
    header{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;justify-content:space-between}
    .verdict{background:var(--panel);border:1px solid var(--edge);border-left:6px solid var(--s0);
    border-radius:6px;padding:1rem 1.2rem;margin:1rem 0}
    .verdict .headline{font-size:1.35rem;line-height:1.35;font-weight:600;margin:.1rem 0 .6rem;max-width:none}
    .verdict h3{margin-top:1rem}
    ul{padding-left:1.2rem;margin:.4rem 0}
    li{margin:.2rem 0;max-width:52rem}
    .soft,figcaption p,caption{color:var(--soft);font-size:.875rem}
    .warning{border-left:4px solid var(--bad);padding-left:.7rem;list-style:none}
    button{font:inherit;font-size:.875rem;color:var(--ink);background:var(--ground);
    border:1px solid var(--edge);border-radius:5px;padding:.25rem .6rem;cursor:pointer}
    button:hover{border-color:var(--soft)}
    :focus-visible{outline:2px solid var(--link);outline-offset:2px}
    .no-script{display:none}
    .scroll{overflow-x:auto;max-width:100%}
    table{border-collapse:collapse;font-size:.875rem;margin:.5rem 0;font-variant-numeric:tabular-nums}
    caption{text-align:left;padding:.2rem 0}
    th,td{padding:.3rem .6rem;border-bottom:1px solid var(--edge);text-align:right;
    white-space:nowrap;vertical-align:top}
    th:first-child,td:first-child{text-align:left;padding-left:0}
    thead th{color:var(--soft);font-weight:600;border-bottom:2px solid var(--edge)}
    thead th[data-sort]{cursor:pointer}
    thead th[aria-sort=ascending]::after{content:" ▲"}
    thead th[aria-sort=descending]::after{content:" ▼"}
    th.words{text-align:left}
    td.words{white-space:normal;text-align:left;overflow-wrap:anywhere;min-width:10rem}
    .bound{color:var(--bad);font-weight:600}
    details{margin:.4rem 0}
    summary{cursor:pointer;color:var(--link)}
    pre{background:var(--panel);border:1px solid var(--edge);border-radius:5px;padding:.7rem;
    font:.8125rem/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;margin:.4rem 0}
    dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.2rem 1rem;font-size:.875rem;margin:.6rem 0}
    dt{color:var(--soft)}
    dd{margin:0;min-width:0}
    .legend{display:flex;flex-wrap:wrap;gap:.4rem;list-style:none;padding:0;margin:.5rem 0}
    .legend li{margin:0}
    .legend button{display:flex;align-items:center;gap:.4rem}
    .legend button[aria-pressed=false]{text-decoration:line-through;color:var(--soft)}
    .key{width:30px;height:14px;flex:none}
    #tip{position:fixed;z-index:9;pointer-events:none;background:var(--ink);color:var(--ground);
    font-size:.8125rem;padding:.25rem .5rem;border-radius:4px;max-width:20rem}
    #tip[hidden]{display:none}
    """

  private static let plots = """
    figure{margin:1.5rem 0}
    svg.plot{display:block;width:100%;height:auto;overflow:visible}
    svg.wide{max-width:54rem}
    svg.narrow{display:none}
    @media (max-width:700px){svg.wide{display:none}svg.narrow{display:block;max-width:30rem}}
    svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
    svg text.tick,svg text.axis{fill:var(--soft)}
    svg text.heading{font-size:13px;font-weight:600}
    svg text.strong{font-weight:600}
    svg text.halo{paint-order:stroke;stroke:var(--ground);stroke-width:3px;stroke-linejoin:round}
    .grid{stroke:var(--grid);stroke-width:1}
    .one{stroke:var(--soft);stroke-width:1}
    .band{fill:var(--band)}
    .line{fill:none;stroke-width:2}
    .mark{stroke-width:2}
    .mark.hollow{fill:var(--ground)}
    .bar{stroke-width:0}
    .bar.user{fill:var(--user)}.bar.system{fill:var(--system)}
    .bar.machine{fill:url(#hatch);stroke:var(--machine);stroke-width:1}
    .interval{fill:none;stroke-width:2;stroke:var(--open)}
    .estimate{fill:var(--open);stroke:var(--open);stroke-width:1.5}
    .interval.better{stroke:var(--good)}.estimate.better{fill:var(--good);stroke:var(--good)}
    .interval.worse{stroke:var(--bad)}.estimate.worse{fill:var(--bad);stroke:var(--bad)}
    svg text.better,td.better{fill:var(--good);color:var(--good);font-weight:600}
    svg text.worse,td.worse{fill:var(--bad);color:var(--bad);font-weight:600}
    .series.off{display:none}
    """

  private static let print = """
    @media print{:root:root{color-scheme:light;\(light)}
    body{max-width:none;padding:0}button.tool,#tip{display:none}figure,.verdict{break-inside:avoid}
    .scroll{overflow:visible}td,th{white-space:normal}}
    """
}
