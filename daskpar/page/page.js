"use strict";
// Draws a run. Live: asks the dashboard for what is new. Report: draws what stands in the document.
// Every text of a run becomes a text node or an attribute that holds text: nothing of it is ever read as markup.
(() => {
const MODE = document.body.dataset.mode, PLOT = document.body.dataset.plot, page = document.getElementById("page");
const OUTCOMES = ["done", "failed", "hung"];
const COLOURS = { done: "done", succeeded: "done", failed: "failed", hung: "hung", retried: "retried", running: "running", slow: "slow", loading: "loading",
  init: "init", "init failed": "failed", flush: "done", shutdown: "init", empty: "empty", idle: "empty", "to be retried": "retried" };
const colour = name => `var(--${COLOURS[name] || "empty"})`;

// -- elements

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}
const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
const title = text => svg("title", null, text);
const card = (id, heading, ...children) => el("section", { class: "card", id }, heading && el("h2", null, heading), children);
const dot = name => el("i", { class: "dot", style: `background:${colour(name)}` });
const none = text => el("p", { class: "none" }, text);
const open = new Set();  // what the reader has opened stays open when it is drawn again
function fold(key, summary, content, opened, name) {
  const node = el("details", { open: (opened ? !open.has(key) : open.has(key)) ? "" : null }, el("summary", { class: name }, summary), content);
  node.addEventListener("toggle", () => { (node.open !== !!opened) ? open.add(key) : open.delete(key); });
  return node;
}

// -- words

const grouped = value => Number(value).toLocaleString("en-US");
function duration(seconds) {
  if (!(seconds >= 0)) return "–";
  if (seconds === 0) return "0 s";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(3))} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
}
function rate(value) {
  if (!value) return "–";
  return value < 0.5 ? `${Number((value * 60).toPrecision(2))}/min` : `${value >= 100 ? grouped(Math.round(value)) : value.toFixed(1)}/s`;
}
const megabytes = value => value >= 1024 ** 3 ? `${(value / 1024 ** 3).toFixed(1)} GB` : `${Math.round(value / 1024 ** 2)} MB`;
function moment(seconds) {
  if (!seconds) return "–";
  const at = new Date(seconds * 1000), two = value => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
const many = (value, noun) => `${grouped(value)} ${noun}${value === 1 ? "" : noun.endsWith("y") ? "" : "s"}`.replace("trys", "tries");
const tries = value => value === 1 ? "1 try" : `${grouped(value)} tries`;
const cut = (text, width) => text.length <= width ? text : text.slice(0, width - 1) + "…";
// Names that differ at their ends, such as those of nested pipelines, stay apart.
const cutInside = (text, width) => text.length <= width ? text : text.slice(0, Math.ceil(width / 2) - 1) + "…" + text.slice(text.length - Math.floor(width / 2));

// -- the parts

function pipeline(run, chosen, choose) {
  const steps = run.steps, level = {};
  const depth = name => level[name] ??= 1 + Math.max(-1, ...(steps.find(s => s.name === name)?.needs || []).map(depth));
  steps.forEach(step => depth(step.name));
  const columns = [], high = 66, narrow = page.clientWidth < 700;
  steps.forEach(step => (columns[level[step.name]] ||= []).push(step));
  // The boxes get smaller where all then fit; where even that does not help, the graph is scrolled.
  const beside = narrow ? Math.max(...columns.map(column => column.length)) : columns.length, room = Math.min(page.clientWidth || 1240, 1240) - (narrow ? 56 : 80);
  const gap = narrow ? 16 : beside > 5 ? 26 : 44, wide = Math.round(Math.min(Math.max((room - 2 - gap * (beside - 1)) / beside, 136), 208));
  const place = {};
  let across = 0, down = 0;
  columns.forEach((column, x) => column.forEach((step, y) => {
    place[step.name] = narrow ? [y * (wide + gap) + 1, x * (high + 30) + 1] : [x * (wide + gap) + 1, y * (high + 16) + 1];
    across = Math.max(across, place[step.name][0] + wide + 1); down = Math.max(down, place[step.name][1] + high + 1);
  }));
  const edges = steps.flatMap(step => step.needs.filter(name => place[name]).map(name => {
    const [ax, ay] = place[name], [bx, by] = place[step.name];
    const from = narrow ? [ax + wide / 2, ay + high] : [ax + wide, ay + high / 2], to = narrow ? [bx + wide / 2, by] : [bx, by + high / 2];
    const mid = narrow ? (from[1] + to[1]) / 2 : (from[0] + to[0]) / 2;
    const path = narrow ? `C${from[0]} ${mid} ${to[0]} ${mid} ${to[0]} ${to[1]}` : `C${mid} ${from[1]} ${mid} ${to[1]} ${to[0]} ${to[1]}`;
    return svg("path", { class: "edge", d: `M${from[0]} ${from[1]}${path}` });
  }));
  const boxes = steps.map(step => {
    const [x, y] = place[step.name], counts = step.counts, planned = counts.planned || 0, inner = wide - 28;
    let words = step.status;
    if (step.status === "running" && step.doing) words = step.doing;
    else if (planned) {
      const amounts = `${grouped(counts.done)} of ${grouped(planned)}`;
      words = `${step.status} · ${amounts}`;
      if (words.length > inner / 5.8) words = amounts;  // the colour of the dot says the rest
    }
    const parts = planned ? [["done", counts.succeeded + counts.empty], ["failed", counts.failed]] : [];
    let at = x + 14;
    const pick = () => choose(step.name);
    return svg("g", { class: `step${step.name === chosen ? " chosen" : ""}`, tabindex: 0, role: "button", "aria-label": `step ${step.name}: ${words}`, onclick: pick,
      onkeydown: event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); } } },
      title(`${step.name}: ${words}${step.reason ? `\n${step.reason}` : ""}`),
      svg("rect", { class: "box", x, y, width: wide, height: high, rx: 9 }),
      svg("circle", { cx: x + 19, cy: y + 20, r: 5, fill: stateColour(step.status) }),
      svg("text", { class: "strong", x: x + 31, y: y + 24.5 }, cutInside(step.name, Math.floor((wide - 42) / 7.6))),
      svg("text", { x: x + 14, y: y + 43 }, cut(words, Math.floor(inner / 5.8))),
      svg("rect", { x: x + 14, y: y + 52, width: inner, height: 4, rx: 2, fill: "var(--fill)" }),
      parts.map(([name, value]) => { const width = inner * value / planned, from = at; at += width;
        return width > 0 && svg("rect", { x: from, y: y + 52, width, height: 4, rx: 2, fill: colour(name) }); }),
      !planned && step.status === "completed" && svg("rect", { x: at, y: y + 52, width: inner, height: 4, rx: 2, fill: colour("done") }));
  });
  return card("pipeline", "Pipeline", el("div", { class: "scroll" }, svg("svg", { viewBox: `0 0 ${across} ${down}`, style: `width:${across}px;height:${down}px` }, edges, boxes)));
}
const stateColour = status => ({ completed: "var(--done)", running: "var(--running)", failed: "var(--failed)", lost: "var(--failed)", crashed: "var(--failed)", interrupted: "var(--retried)", partial: "var(--retried)" })[status.split(" ")[0]] || "var(--empty)";

function progress(step) {
  const counts = step.counts, planned = counts.planned;
  const head = [step.name, el("span", { class: "soft" }, [step.kind, step.processors && many(step.processors, "processor") + " on " + many(step.nodes, "node")].filter(Boolean).join(" · "))];
  const figure = (value, words, kind) => el("div", { class: `figure ${kind || ""}` }, el("b", null, value), el("span", null, words));
  if (!planned) {
    const waits = step.status === "waiting" ? `waits${step.needs.length ? ` for ${step.needs.join(", ")}` : ""}` : step.doing || step.status;
    return card("progress", head, el("div", { class: "figures" }, figure(waits, step.reason || "state"), step.seconds ? figure(duration(step.seconds), "time so far") : null,
      step.exit_code !== null && figure(String(step.exit_code), "exit code", step.exit_code ? "bad" : "")));
  }
  const parts = [["done", counts.succeeded], ["empty", counts.empty], ["failed", counts.failed], ["running", Math.min(step.running, counts.left)]];
  const going = step.status === "running";
  return card("progress", head,
    el("div", { class: "track", role: "img", "aria-label": `${counts.done} of ${planned} mini-batches done, ${counts.failed} failed` },
      parts.map(([name, value]) => value > 0 && el("i", { style: `width:${100 * value / planned}%;background:${colour(name)}`, title: `${name}: ${grouped(value)}` }))),
    el("div", { class: "figures" },
      figure(grouped(counts.succeeded), "succeeded"), figure(grouped(counts.failed), "failed", counts.failed ? "bad" : ""),
      figure(grouped(counts.retried), "retried", counts.retried ? "warn" : ""), counts.throttled ? figure(grouped(counts.throttled), "throttled") : null, counts.empty ? figure(grouped(counts.empty), "empty") : null,
      going && figure(grouped(step.running), "running"), going || counts.left ? figure(grouped(counts.left), going ? "left" : "not run") : null,
      figure(grouped(counts.items), "items"), counts.failed_items ? figure(grouped(counts.failed_items), counts.failed_items === 1 ? "failed item" : "failed items", "bad") : null,
      going ? figure(rate(step.rate), "mini-batches") : null, going ? figure(step.time_left === null ? "–" : duration(step.time_left), "time left") : null,
      figure(duration(step.seconds), going ? "so far" : "took")),
    going && (step.doing || step.waits_for) ? el("p", { class: "soft", id: "waits" }, step.doing || step.waits_for) : null,
    step.reason ? el("div", { class: `note${step.status === "partial" ? "" : " bad"}`, style: "margin:12px 0 0" }, step.reason) : null);
}

const amount = one => one.what.endsWith("%") ? Number(one.value.toFixed(2)).toString() : grouped(one.value);
function limits(detail) {
  if (!detail.limits.length) return null;
  return card("limits", "Failure limits", el("div", { class: "limits" }, detail.limits.map(one => {
    const has = one.limit !== null, over = has && one.value > one.limit, share = has ? (one.limit ? Math.min(one.value / one.limit, 1) : one.value ? 1 : 0) : 0;
    return el("div", { class: "limit" },
      el("div", { class: "words" }, el("span", null, one.what, " ", el("span", { class: "soft mono" }, one.setting)), el("span", { class: has ? "" : "soft" }, has ? `${amount(one)} of ${grouped(one.limit)} allowed` : `${amount(one)}, no limit`)),
      el("div", { class: "track" }, el("i", { style: `width:${100 * share}%;background:${over ? "var(--failed)" : share > 0.7 ? "var(--retried)" : "var(--done)"}` })));
  })));
}

function ticks(span, most) {
  const raw = span / most, power = 10 ** Math.floor(Math.log10(raw)), nice = [1, 2, 5, 10].map(f => f * power);
  const steps = raw < 60 ? nice : [60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800, 2592000];
  const size = steps.find(value => value >= raw) || nice[3], found = [];
  for (let at = 0; at <= span * 1.0001; at += size) found.push(at);
  return found;
}
function tick(seconds) {
  if (seconds === 0) return "0";
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)}:${String(Math.round(seconds % 60)).padStart(2, "0")}` : `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60 || ""}`.trim();
}

function timeline(detail, since) {
  const data = detail.timeline, rows = data.rows, span = Math.max(data.end - data.start, 0.001);
  const heading = ["Timeline", el("span", { class: "soft" }, data.shares ? "how busy each processor was" : "each bar is one try", since)];
  if (!rows.length) return card("timeline", heading, none("No processor has done anything yet."));
  const width = Math.max(300, Math.min(page.clientWidth, 1200) - 40), left = rows.length > 1 || rows[0].length > 12 ? 92 : 92, right = 8;
  const high = rows.length > 40 ? 10 : rows.length > 16 ? 14 : 20, pad = rows.length > 40 ? 2 : 4, bottom = rows.length * (high + pad) + 4;
  const x = seconds => left + (width - left - right) * Math.min(Math.max(seconds / span, 0), 1), y = row => row * (high + pad);
  const shapes = [];
  if (data.shares) data.shares.forEach((outcomes, row) => {
    const base = outcomes[0].map(() => 0);
    outcomes.forEach((shares, which) => {
      if (!shares.some(Boolean)) return;
      let upper = "", lower = "";
      shares.forEach((share, column) => {
        const from = x(column * data.width), to = x((column + 1) * data.width), b = y(row) + high * (1 - base[column] / 100);
        base[column] = Math.min(base[column] + share, 100);
        const t = y(row) + high * (1 - base[column] / 100);
        upper += `L${from.toFixed(1)} ${t.toFixed(1)}L${to.toFixed(1)} ${t.toFixed(1)}`; lower = `L${to.toFixed(1)} ${b.toFixed(1)}L${from.toFixed(1)} ${b.toFixed(1)}` + lower;
      });
      shapes.push(svg("path", { d: "M" + (upper + lower).slice(1) + "Z", fill: colour(OUTCOMES[which]) }, title(`${rows[row]}: ${OUTCOMES[which]}`)));
    });
  });
  else {
    const small = (width - left - right) / span;
    // Short failed tries would hide below their neighbours: they come last.
    const spans = [...data.spans].sort((a, b) => (a[4] === "failed") - (b[4] === "failed"));
    for (const [row, start, load, length, kind, index] of spans) {
      const from = x(start), to = Math.max(x(start + length), from + (kind === "done" ? 1.5 : 3)), bar = Math.max(to - from - (to - from > 4 ? 0.6 : 0), 1);
      const words = `${index >= 0 ? `mini-batch ${index}: ` : ""}${kind}, ${duration(length)}${load > 0.0005 ? ` (loading ${duration(load)})` : ""} on ${rows[row]}`;
      shapes.push(svg("rect", { x: from.toFixed(1), y: y(row), width: bar.toFixed(1), height: high, rx: bar > 5 ? 2 : 0, fill: colour(kind), "data-kind": kind }, title(words)));
      if (load * small > 1.5 && load < length) shapes.push(svg("rect", { x: from.toFixed(1), y: y(row), width: (load * small).toFixed(1), height: high, fill: colour("loading") }, title(words)));
    }
  }
  const every = rows.length > 40 ? Math.ceil(rows.length / 20) : 1;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${bottom + 18}`, role: "img", "aria-label": `timeline of ${rows.length} processors` },
    ticks(span, Math.max(3, width / 110)).map(at => [svg("line", { class: "axis", x1: x(at), x2: x(at), y1: 0, y2: bottom }), svg("text", { x: Math.min(x(at), width - 14), y: bottom + 13, "text-anchor": at ? "middle" : "start" }, tick(at))]),
    rows.map((name, row) => row % every === 0 && svg("text", { x: left - 8, y: y(row) + high / 2 + 4, "text-anchor": "end" }, name)), shapes);
  const seen = data.shares ? OUTCOMES : ["done", "failed", "hung", "running", "slow", "loading", "init"].filter(kind => ["done", "loading"].includes(kind) || data.spans.some(one => one[4] === kind));
  return card("timeline", heading, drawing, el("div", { class: "legend" }, seen.map(kind => el("span", null, dot(kind), ({ hung: "hung, killed for its time", slow: "running, over half of its time", init: "import and init()" })[kind] || kind))));
}

function runtimes(detail) {
  const { edges, bars } = detail.histogram, count = edges.length - 1;
  if (count < 1) return card("runtimes", "Run times", none("No call of run() has ended yet."));
  const width = page.clientWidth < 820 ? Math.max(page.clientWidth - 54, 200) : 560, height = 150, foot = 20, sums = edges.slice(1).map((_, i) => OUTCOMES.reduce((sum, name) => sum + bars[name][i], 0)), top = Math.max(...sums, 1);
  const each = width / count, shapes = [], total = sums.reduce((a, b) => a + b, 0);
  for (let i = 0; i < count; i++) {
    let at = height;
    for (const name of OUTCOMES) {
      const value = bars[name][i], high = value ? Math.max(value / top * (height - 14), 1.5) : 0;
      at -= high;
      if (high) shapes.push(svg("rect", { x: i * each + 1, y: at, width: Math.max(each - 2, 1), height: high, rx: 1.5, fill: colour(name) }, title(`${duration(edges[i])} to ${duration(edges[i + 1])}: ${grouped(value)} ${name}`)));
    }
  }
  const label = i => svg("text", { x: Math.min(Math.max(i * each, 0), width), y: height + 15, "text-anchor": i === 0 ? "start" : i === count ? "end" : "middle" }, duration(edges[i]));
  const shown = count > 3 ? [0, Math.round(count / 2), count] : [0, count];
  return card("runtimes", ["Run times", el("span", { class: "soft" }, `of ${grouped(total)} calls of run()`)],
    svg("svg", { viewBox: `0 0 ${width} ${height + foot}`, role: "img", "aria-label": "histogram of run times" }, svg("line", { class: "axis", x1: 0, x2: width, y1: height + 0.5, y2: height + 0.5 }), shapes, shown.map(label)),
    el("h2", { style: "margin:14px 0 6px" }, "Slowest"),
    el("table", null, el("tbody", null, detail.slowest.slice(0, 8).map(([index, name, seconds, outcome, where]) =>
      el("tr", null, el("td", { class: "path", title: `mini-batch ${index}` }, dot(outcome), cut(name, 120)), el("td", { class: "soft keep" }, where), el("td", { class: "n" }, duration(seconds)))))));
}

function failures(detail, step) {
  const total = detail.failures.reduce((sum, kind) => sum + kind.tries, 0) + detail.other_failures;
  const list = detail.failures.map((kind, i) => fold(`failure-${detail.name}-${kind.reason}-${kind.index}`,
    [el("span", { class: "count" }, `${tries(kind.tries)}${kind.final ? `, ${grouped(kind.final)} final` : ""}`), dot(kind.reason.includes("TIMEOUT") ? "hung" : "failed"), kind.message.split("\n")[0]],
    el("div", null, el("p", { class: "soft", style: "margin:8px 0 0" }, `${kind.reason} · first: mini-batch ${kind.index} (${cut(kind.name, 200)}) on ${kind.where} · ${moment(kind.time)}`),
      kind.items && kind.items !== kind.name ? el("p", { class: "soft", style: "margin:2px 0 0" }, `items: ${cut(kind.items, 600)}`) : null,
      kind.trace.trim() ? el("pre", null, kind.trace) : kind.message.includes("\n") ? el("pre", null, kind.message) : null, kind.log ? el("p", { class: "soft mono", style: "margin:8px 0 0;overflow-wrap:anywhere" }, kind.log) : null), i === 0));
  const untold = step.status === "running" ? 0 : step.counts.tries_failed - total;
  const first = list.length > 9 ? list.slice(0, 8) : list, later = list.slice(first.length);
  const inits = detail.init_failures.map(([where, what, trace], i) => fold(`init-${detail.name}-${i}`, [el("span", { class: "count" }, where), dot("failed"), `import or init() failed: ${what.split("\n")[0]}`], trace.trim() ? el("pre", null, trace) : el("pre", null, what), i === 0));
  return card("failures", ["Failures", el("span", { class: "soft" }, total ? `${tries(total)}, by kind` : "")], inits, first, later.length ? fold(`failures-${detail.name}`, `${later.length} more kinds`, el("div", { class: "folded" }, later), false, "soft") : null,
    untold > 0 ? el("p", { class: "soft" }, `${list.length ? "… and " : ""}${tries(untold)} of which no message is kept here: the logs below have them`) : null,
    detail.other_failures ? el("p", { class: "soft" }, `… and ${tries(detail.other_failures)} of other kinds`) : null, !list.length && !inits.length && untold <= 0 ? none(step.status === "running" ? "None so far." : "None.") : null);
}

function processors(detail, live, showLog) {
  const rows = detail.processors, addresses = Object.fromEntries(detail.nodes.map(node => [node.node, node]));
  if (!rows.length) return card("processors", "Processors", none("None has started yet."));
  const usage = rows.some(row => row.memory), known = rows.some(row => row.state || row.address || addresses[row.node]), body = [];
  for (const row of rows) {
    const node = addresses[row.node], at = row.address || node?.address || "";
    body.push(el("tr", null,
      el("td", { class: "keep" }, live ? el("a", { href: "#log", onclick: event => { event.preventDefault(); showLog(row); } }, row.name) : row.name),
      known ? el("td", { class: "soft path", title: row.pid ? `pid ${row.pid}` : null }, cut(at.replace(/^inproc:.*/, "this machine"), 40)) : null,
      known ? el("td", { class: "keep" }, row.state ? dot(row.state === "ready" || row.state === "ended" ? "idle" : row.state) : null, row.state.replace("_", " "), row.calls ? `, ${row.calls} in flight` : "") : null,
      live && usage ? el("td", { class: "path" }, row.mini_batch ? cut(row.mini_batch, 80) : "") : null, live && usage ? el("td", { class: "n" }, row.mini_batch ? duration(row.age) : "") : null,
      usage ? el("td", { class: "n" }, row.memory ? megabytes(row.memory) : "") : null, usage ? el("td", { class: "n" }, row.cpu >= 0 ? `${Math.round(100 * row.cpu)} %` : "") : null,
      el("td", { class: "n" }, grouped(row.tries)), el("td", { class: "n" }, row.failed ? el("span", { style: "color:var(--failed)" }, grouped(row.failed)) : "0"), el("td", { class: "n" }, duration(row.busy))));
  }
  const heads = ["processor", ...(known ? ["node", "state"] : []), ...(live && usage ? ["mini-batch", "#age"] : []), ...(usage ? ["#memory", "#CPU"] : []), "#tries", "#failed", "#busy"];
  return card("processors", ["Processors", el("span", { class: "soft" }, live ? "a name shows what its script has printed" : "")],
    el("div", { class: "scroll" }, el("table", null, el("thead", null, el("tr", null, heads.map(text => el("th", { class: text[0] === "#" ? "n" : null }, text.replace("#", ""))))), el("tbody", null, body))),
    detail.nodes.some(node => node.memory_total) ? el("div", { class: "legend", style: "margin-top:12px" }, detail.nodes.filter(node => node.memory_total).map(node =>
      el("span", null, `node ${node.node}: ${node.cpu?.toFixed(0)} % CPU, ${megabytes(node.memory * 1048576)} of ${megabytes(node.memory_total * 1048576)} in use`))) : null,
    detail.gpus?.length ? el("div", { class: "legend", id: "gpus", style: "margin-top:6px" }, detail.gpus.map(([node, gpu, kind, now, mean, used, most, total]) => {
      const percent = live ? now : mean, memory = live ? used : most;
      return el("span", { title: kind }, `node ${node}, GPU ${cut(gpu, 24)}: ${percent === null ? "" : `${Math.round(percent)} %${live ? "" : " on average"}, `}${live ? "" : "at most "}${megabytes(memory * 1048576)} of ${megabytes(total * 1048576)}`);
    })) : null);
}

function settings(detail) {
  if (!detail.settings.length) return null;
  return el("section", { class: "card long", id: "settings" }, fold("settings", ["Settings", el("span", { class: "count" }, `${detail.settings.length} values, each with its source`)],
    el("div", { class: "scroll" }, el("table", null, el("thead", null, el("tr", null, ["setting", "value", "source"].map(text => el("th", null, text)))),
      el("tbody", null, detail.settings.map(([name, value, source]) => el("tr", null, el("td", { class: "keep" }, name), el("td", { class: "mono path", style: "white-space:pre-wrap" }, value), el("td", { class: "soft source" }, source)))))), false, "title"));
}

function places(detail) {
  const row = ([what, path]) => el("tr", null, el("td", { class: "keep" }, what), el("td", { class: "mono" }, path));
  const tails = (detail.tails || []).flatMap(([where, texts]) => texts.filter(one => one[2].trim()).map(([what, path, text]) => fold(`tail-${detail.name}-${where}-${what}`, [el("span", { class: "count" }, what), where], el("div", null, el("p", { class: "soft mono", style: "margin:6px 0 0;overflow-wrap:anywhere" }, path), el("pre", null, text)))));
  return el("section", { class: "card long", id: "outputs" }, el("h2", null, "Outputs and logs"), el("div", { class: "scroll" }, el("table", null, el("tbody", null, detail.outputs.map(row), detail.logs.map(row)))),
    detail.result ? fold(`result-${detail.name}`, "job_result.txt", el("pre", null, detail.result)) : null, tails);
}

// -- the table of mini-batches (report)

function table(name, data) {
  const { columns, values, rows, of } = data, number = { "mini-batch": 1, tries: 1, items: 1, "failed items": 1, seconds: 1, "in run()": 1 }, at = text => columns.indexOf(text);
  let texts = null, order = 0, upwards = true, shown = 100;
  const body = el("tbody"), count = el("span", { class: "soft" }), more = el("button", { class: "button", onclick: () => { shown += 500; draw(); } }, "show more");
  const search = el("input", { type: "search", placeholder: "find a mini-batch: its name, number, processor, reason", "aria-label": "find a mini-batch", oninput: () => { shown = 100; draw(); } });
  const which = el("select", { "aria-label": "which mini-batches", onchange: () => { shown = 100; draw(); } }, ["all", "failed", "retried", "succeeded", "empty"].map(text => el("option", { value: text }, text)));
  const cell = (column, row) => { const value = values[column][row], head = columns[column];
    if (head === "seconds" || head === "in run()") return duration(value);
    if (head === "started") return moment(value);
    return number[head] ? grouped(value) : String(value); };
  function draw() {
    texts ||= Array.from({ length: rows }, (_, row) => [at("mini-batch"), at("name"), at("outcome"), at("processor"), at("reason")].map(column => values[column][row]).join("\n").toLowerCase());
    const words = search.value.toLowerCase().trim(), kind = which.value, outcome = values[at("outcome")], tried = values[at("tries")], found = [];
    for (let row = 0; row < rows; row++) {
      if (kind === "retried" ? tried[row] < 2 : kind !== "all" && outcome[row] !== kind) continue;
      if (!words || texts[row].includes(words)) found.push(row);
    }
    const keys = values[order];
    found.sort((a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : a - b) * (upwards ? 1 : -1));
    body.replaceChildren(...found.slice(0, shown).map(row => el("tr", null, columns.map((head, column) => el("td", { class: number[head] ? "n" : head === "name" ? "path" : "keep" }, head === "outcome" ? dot(values[column][row]) : null, cell(column, row))))));
    count.textContent = `${grouped(Math.min(shown, found.length))} of ${grouped(found.length)} shown`;
    more.style.display = found.length > shown ? "" : "none";
  }
  const heads = columns.map((head, column) => el("th", { class: number[head] ? "n" : null }, el("button", { onclick: () => { upwards = order === column ? !upwards : !["seconds", "in run()", "tries", "failed items"].includes(head); order = column; draw(); } }, head)));
  draw();
  return el("section", { class: "card long", id: "mini-batches" }, el("h2", null, "Mini-batches", el("span", { class: "soft" }, name)),
    rows < of ? el("p", { class: "soft" }, `This report holds ${grouped(rows)} of ${grouped(of)} mini-batches: all that failed or were retried (as far as they fit), then the first ones. sys/job_report/processed_mini-batches.csv has each one.`) : null,
    el("div", { class: "tools" }, search, which, count), el("div", { class: "scroll" }, el("table", null, el("thead", null, el("tr", null, heads)), body)), el("p", null, more));
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), sign => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// -- the whole

function head(run, runs, chosenRun, chooseRun) {
  const dask = MODE === "live" ? ["status", "workers", "tasks", "system", "profile", "graph", "info"].map(name => el("a", { href: name === "info" ? "info/main/workers.html" : name }, name[0].toUpperCase() + name.slice(1))) : [];
  const choose = runs.length > 1 ? el("select", { "aria-label": "run", onchange: event => chooseRun(event.target.value) }, [...runs].reverse().map(one => el("option", { value: one.id, selected: one.id === chosenRun ? "" : null }, `${one.name} · ${one.directory.split("/").pop()} · ${one.status}`))) : null;
  return [el("nav", { class: "bar" }, el("span", { class: "brand" }, "daskpar"), choose, dask.length ? el("span", { class: "soft" }, "Dask:") : null, dask),
    el("div", { class: "head" }, el("h1", null, run.name), el("span", { class: `pill ${run.status.split(" ")[0]}` }, run.status), el("span", { class: "soft" }, duration(run.seconds), " since ", moment(run.started))),
    el("div", { class: "sub" }, run.spec, el("br"), run.directory)];
}

function notes(run, detail) {
  const found = [];
  if (run.reason && run.status !== "completed") found.push(el("div", { class: `note${run.status === "partial" ? "" : " bad"}` }, run.reason));
  const texts = [...run.warnings.map(([step, text]) => step ? `${step}: ${text}` : text), ...(detail?.notes || []), ...run.notes.map(text => `note: ${text}`)];
  if (texts.length) found.push(el("section", { class: "card", id: "warnings" }, fold("warnings", ["Warnings and notes", el("span", { class: "count" }, grouped(texts.length))], el("ul", { style: "margin:0;padding-left:18px;overflow-wrap:anywhere" }, texts.map(text => el("li", null, text))), false, "title")));
  return found;
}

const slots = new Map();
function draw(parts) {
  // A part is put in place again only where what it shows has changed: no flicker, and a selection stays.
  const keep = new Set();
  let last = null;
  for (const [key, mark, make] of parts) {
    const text = JSON.stringify(mark);
    let slot = slots.get(key);
    if (!slot || slot.text !== text) {
      const made = [make()].flat(Infinity).filter(Boolean), box = slot?.box || el("div", { class: key.startsWith("pair") ? "pair" : null });
      const scrolled = [...box.querySelectorAll(".scroll, pre")].map(node => [node.scrollLeft, node.scrollTop]);
      box.replaceChildren(...made);
      [...box.querySelectorAll(".scroll, pre")].forEach((node, i) => { if (scrolled[i]) [node.scrollLeft, node.scrollTop] = scrolled[i]; });
      slots.set(key, slot = { text, box });
    }
    if (slot.box.previousSibling !== last || slot.box.parentNode !== page) last ? last.after(slot.box) : page.prepend(slot.box);
    last = slot.box;
    keep.add(key);
  }
  for (const [key, slot] of slots) if (!keep.has(key)) { slot.box.remove(); slots.delete(key); }
}

function stepParts(run, detail, context) {
  const line = run.steps.find(step => step.name === detail.name), plain = line.kind === "command" || !line.kind;
  const parts = {
    pipeline: ["pipeline", [run.steps.map(({ name, status, counts, doing, reason, needs }) => [name, status, counts.done, counts.failed, counts.planned, doing, reason, needs]), detail.name, page.clientWidth], () => pipeline(run, detail.name, context.choose)],
    progress: ["progress", line, () => progress(line)],
    timeline: ["timeline", [detail.timeline, page.clientWidth], () => timeline(detail, context.live && run.resumed ? ", since the run was resumed" : "")],
    runtimes: ["runtimes", [detail.histogram, detail.slowest, page.clientWidth < 820], () => runtimes(detail)],
    failures: ["failures", [detail.failures, detail.init_failures, line.status], () => failures(detail, line)],
    processors: ["processors", [detail.processors, detail.nodes], () => processors(detail, context.live, context.showLog)],
  };
  const printed = context.log ? [["log", context.log, () => logCard(context)]] : [];
  if (PLOT) return [parts[PLOT] || parts.progress, ...(PLOT === "processors" ? printed : [])];
  const list = [parts.pipeline, plain || !detail.limits.length ? parts.progress : ["pair-progress", [line, detail.limits], () => [progress(line), limits(detail)]]];
  if (!plain) list.push(parts.timeline, ["pair-failures", [detail.histogram, detail.slowest, detail.failures, detail.init_failures, line.status, page.clientWidth < 820 && page.clientWidth], () => [failures(detail, line), runtimes(detail)]], parts.processors);
  list.push(...printed, ["settings", detail.settings, () => settings(detail)], ["outputs", [detail.outputs, detail.logs, detail.result, detail.tails], () => places(detail)]);
  return list;
}

function logCard(context) {
  const { name, texts } = context.log;
  return card("log", [name, el("span", { class: "soft" }, "the end of what its script has printed "), el("a", { href: "#", onclick: event => { event.preventDefault(); context.showLog(null); } }, "close")],
    texts === null ? none("…") : texts.length ? texts.map(([what, path, text]) => el("div", { style: "margin-bottom:12px" }, el("div", { class: "soft" }, what, " ", el("span", { class: "mono" }, path)), el("pre", null, text || "(nothing)"))) : none("There is nothing."));
}

async function report() {
  const data = JSON.parse(document.getElementById("data").textContent), run = data.run, tables = {};
  try {
    for (const name of Object.keys(data.steps)) data.steps[name] = await unpack(data.steps[name]);
    for (const name of Object.keys(data.tables)) tables[name] = await unpack(data.tables[name]);
  } catch (error) {
    page.append(el("p", { class: "note bad" }, `This browser can't unpack the report (${error}): use one of 2023 or later.`));
    data.steps = {};
  }
  let chosen = data.chosen;
  const choose = name => { if (data.steps[name]) { chosen = name; show(); } };
  function show() {
    const detail = data.steps[chosen], context = { choose, live: false, showLog: () => {}, log: null };
    draw([["head", run, () => head(run, [], "", null)], ["notes", [run.warnings, chosen], () => notes(run, detail)], ...(detail ? stepParts(run, detail, context) : []),
      ...(tables[chosen] ? [[`table-${chosen}`, 1, () => table(chosen, tables[chosen])]] : [])]);
  }
  show();
  document.body.dataset.ready = "1";
  addEventListener("resize", show);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(node => { node.open = true; }));
}

function live() {
  const asked = new URLSearchParams(location.search);
  let run = asked.get("run") || "", step = asked.get("step") || "", last = null, missed = 0, log = null, turn = 0, stopped = false;
  const remember = () => history.replaceState(null, "", `?${new URLSearchParams(Object.entries({ run, step }).filter(pair => pair[1]))}`);
  const choose = name => { step = name; log = null; remember(); next(false); };
  const chooseRun = id => { run = id; step = ""; log = null; remember(); next(false); };
  async function showLog(row) {
    if (!row) { log = null; show(); return; }
    log = { name: `${last.facts.step.name} ${row.name}`, texts: null, row }; show(); loadLog();
  }
  async function loadLog() {
    const wanted = log;
    if (!wanted) return;
    try {
      const answer = await fetch(`daskpar/log.json?${new URLSearchParams({ run: last.run_id, step: last.facts.step.name, node: wanted.row.node, processor: wanted.row.processor })}`);
      if (log === wanted) { log.texts = (await answer.json()).texts; show(); }
    } catch { /* the next round says that nobody answers */ }
  }
  function show() {
    const facts = last?.facts, gone = missed > 1;
    const said = (text, bad) => el("div", { class: `note ${bad ? "bad" : ""}` }, text);
    const parts = [];
    if (!facts) {
      const runs = last?.runs || [];
      parts.push(["empty", [last, gone], () => [head({ name: "daskpar", status: gone ? "gone" : "no run", seconds: 0, started: 0, spec: "", directory: "" }, runs, "", chooseRun)[0],
        gone ? said("The dashboard does not answer: the cluster has ended, or the connection is lost.", true)
          : !last ? none("…")
          : run && !last.run_id ? said(`The run ${run} is gone: this cluster does not know it (any more). Its run directory has report.html.`, true)
          : last.run_id && !last.answered ? said("The run is gone: its driver has ended or does not answer. Its run directory has report.html where it ended in order; `daskpar report RUN` writes it else.", true)
          : none("No run is using this cluster now."),
        runs.length ? card("runs", "Runs", el("table", null, el("tbody", null, [...runs].reverse().map(one => el("tr", null, el("td", null, el("a", { href: `?run=${encodeURIComponent(one.id)}`, onclick: event => { event.preventDefault(); chooseRun(one.id); } }, one.name)), el("td", null, one.status), el("td", { class: "soft" }, moment(one.started)), el("td", { class: "mono" }, one.directory)))))) : null]]);
      draw(parts); return;
    }
    const { run: about, step: detail } = facts;
    if (!PLOT) {
      parts.push(["head", [{ ...about, now: 0 }, last.runs], () => head(about, last.runs, last.run_id, chooseRun)]);
      if (gone || last.status !== "running") {
        const text = gone && about.status === "running" ? "The dashboard no longer answers: the run has ended, or the connection is lost. This is what was known last."
          : last.status === "gone" ? "The run is gone: its driver has vanished without a word. This is what was known last." : "The run has ended.";
        parts.push(["gone", [text, about.directory], () => said([text, " Its report: ", el("span", { class: "mono" }, `${about.directory}/report.html`)], last.status === "gone")]);
      }
      parts.push(["notes", [about.warnings, about.reason, about.status, detail?.notes], () => notes(about, detail)]);
    }
    if (detail) parts.push(...stepParts(about, detail, { choose, live: true, showLog, log }));
    draw(parts);
    document.body.dataset.ready = "1";
    document.title = `${about.name} · ${about.status} · daskpar`;
  }
  async function next(wait) {
    const mine = ++turn;
    for (;;) {
      try {
        const query = new URLSearchParams(Object.entries({ run, step, wait: wait ? "1" : "" }).filter(pair => pair[1]));
        const answer = await fetch(`daskpar/facts.json?${query}`, { signal: AbortSignal.timeout(10000) });
        if (mine !== turn) return;
        if (!answer.ok) throw new Error(answer.statusText);
        const found = await answer.json();
        if (mine !== turn) return;
        if (!found.facts && last?.facts && found.run_id === last.run_id) found.facts = last.facts;
        last = found; missed = 0;
        if (log) loadLog();
      } catch { missed += 1; }
      if (mine !== turn) return;
      show();
      const over = last && last.run_id && last.status !== "running";
      await new Promise(done => setTimeout(done, document.hidden ? 5000 : missed ? 1000 : over || !last?.facts ? 2000 : 60));
      if (mine !== turn) return;
      wait = true;
    }
  }
  next(false);
  addEventListener("resize", () => show());
}

MODE === "live" ? live() : report();
})();
