"use strict";
// Everything that comes from names and tags is put in as text (textContent), never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const make = (tag, kind, text) => {
    const node = document.createElement(tag);
    if (kind) node.className = kind;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const ROW = 32, SPARE = 8; // pixels of a row; rows beyond the visible ones
  const TOGETHER = 0.004, FAR = 0.25; // seconds: in step; so far apart that seeking is better than catching up
  const UNHEARD = 1e-5; // -100 dB: browsers take one that is muted off the sound card, and it comes back late
  const VIEWS = ["the spectrum", "the plain decode too", "the difference too"];
  const clock = (s) => {
    const whole = Math.max(0, Math.floor(s)), rest = String(whole % 60).padStart(2, "0");
    return `${Math.floor(whole / 60)}:${rest}`;
  };

  // --- the list: only what is seen is there -------------------------------------------------------------
  let shown = data.songs.map((_, index) => index); // of data.songs, in the order of the list
  let place = -1; // in shown; -1: all songs
  function refill() {
    const wanted = $("find").value.trim().toLowerCase(), column = Number($("sort").value);
    const chosen = place >= 0 ? shown[place] : -1;
    shown = data.songs.map((_, index) => index).filter((index) => data.songs[index].name.toLowerCase().includes(wanted));
    if (column >= 0) {
      const most = shown.map((index) => Math.max(...data.songs[index].versions.map((v) => v.figures[column] ?? -Infinity)));
      const order = new Map(shown.map((index, at) => [index, most[at]]));
      shown.sort((a, b) => order.get(b) - order.get(a) || a - b);
    }
    place = shown.indexOf(chosen);
    $("rows").style.height = `${shown.length * ROW}px`;
    drawRows();
  }
  function drawRows() {
    const list = $("list"), rows = $("rows");
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
    rows.replaceChildren();
    for (let at = first; at < last; at++) {
      const song = data.songs[shown[at]], row = make("div", "row"), name = make("bdi", "", song.name);
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", at === place);
      row.setAttribute("aria-setsize", shown.length);
      row.setAttribute("aria-posinset", at + 1);
      row.style.top = `${at * ROW}px`;
      row.title = song.name;
      row.append(name);
      if (song.favourite) row.append(make("span", "", "★"));
      if (song.problem) row.append(make("span", "bad", "!"));
      else if (song.versions.some((v) => v.lost)) row.append(make("span", "bad", "lost"));
      row.addEventListener("click", () => choose(at));
      rows.append(row);
    }
  }
  function intoView() {
    const list = $("list"), top = place * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  }

  // --- the players: all run in step, one is heard --------------------------------------------------------
  let players = [], current = 0, before = 0, running = false, matched = true, volume = 1, view = 2, region = [null, null];
  let looping = false;
  const song = () => (place >= 0 ? data.songs[shown[place]] : null);
  const heard = () => players[current];
  function gains() {
    const loudness = song().versions.map((v) => v.figures[0]);
    const told = loudness.filter((l) => l !== null);
    const target = told.length ? Math.min(...told) : 0; // down to the softest: nothing clips
    return loudness.map((l) => (matched && l !== null ? target - l : 0));
  }
  function setLevels() {
    const gain = gains();
    players.forEach((player, index) => {
      player.volume = index === current ? Math.min(1, volume * 10 ** (gain[index] / 20)) : UNHEARD;
    });
  }
  function load() {
    for (const old of players) { old.pause(); old.removeAttribute("src"); old.load(); }
    players = song().versions.map((version, index) => {
      const player = make("audio");
      player.preload = index === 0 ? "metadata" : "none";
      player.src = version.url;
      player.addEventListener("error", () => {
        if (player.getAttribute("src")) say(`${version.name} cannot be played: is its file still beside the report?`);
      });
      player.addEventListener("ended", () => { if (player === heard()) { pause(); seek(0); } });
      return player;
    });
    $("players").replaceChildren(...players);
    current = Math.min(current, Math.max(0, players.length - 1));
    before = before < players.length ? before : 0;
    setLevels();
  }
  async function play() {
    if (!players.length) return;
    running = true;
    const start = heard().currentTime;
    for (const player of players) {
      player.playbackRate = 1;
      if (Math.abs(player.currentTime - start) > TOGETHER) player.currentTime = start;
    }
    const all = players;
    await Promise.allSettled(all.map((player) => player.play()));
    if (all === players && heard().paused) running = false;
    drawTransport();
  }
  function pause() {
    running = false;
    for (const player of players) player.pause();
    drawTransport();
  }
  function seek(to) {
    if (!players.length) return;
    const end = song().duration || heard().duration || 0, goal = Math.max(0, Math.min(to, Math.max(0, end - 0.05)));
    for (const player of players) { player.playbackRate = 1; player.currentTime = goal; }
    drawTransport();
  }
  // Those that are not heard catch up or wait by a slightly other speed, so that toggling never jumps.
  function keepInStep() {
    if (!running || !players.length) return;
    const now = heard().currentTime;
    if (looping && region[1] !== null && now >= region[1]) { seek(region[0] ?? 0); return; }
    players.forEach((player, index) => {
      if (index === current || player.error) return;
      if (player.paused && !player.ended) player.play().catch(() => {});
      const ahead = player.currentTime - heard().currentTime;
      if (Math.abs(ahead) > FAR) { if (!player.seeking) player.currentTime = heard().currentTime; player.playbackRate = 1; }
      else player.playbackRate = Math.abs(ahead) < TOGETHER ? 1 : Math.max(0.8, Math.min(1.25, 1 - 2 * ahead));
    });
  }
  function hear(index) {
    if (index < 0 || index >= players.length || index === current) return;
    const old = heard(), next = players[index];
    before = current;
    current = index;
    next.playbackRate = 1;
    if (Math.abs(next.currentTime - old.currentTime) > (running ? 10 * TOGETHER : 0)) next.currentTime = old.currentTime;
    if (running && next.paused) next.play().catch(() => {});
    setLevels();
    drawVersion();
  }

  // --- what is shown of a song --------------------------------------------------------------------------
  const say = (text) => { $("status").textContent = text; };
  const number = (value, digits) => (value === null ? "–" : value.toFixed(digits));
  const figureCells = (figures) => data.columns.map((column, index) => {
    const cell = make("td", figures[index] === null ? "none" : "", number(figures[index], column.digits));
    cell.title = column.tells;
    return cell;
  });
  const heads = (first) => {
    const row = make("tr");
    row.append(make("th", "", first));
    for (const column of data.columns) {
      const head = make("th", "", column.title);
      head.append(make("br"), document.createTextNode(column.unit));
      head.title = column.tells;
      row.append(head);
    }
    return row;
  };
  function choose(at) {
    if (at < 0 || at >= shown.length) return;
    pause();
    place = at;
    region = [null, null]; looping = false;
    const chosen = song();
    $("summary").hidden = true; $("song").hidden = false;
    $("name").textContent = chosen.name;
    $("verdict").textContent = chosen.verdict;
    $("problem").textContent = chosen.problem;
    $("problem").className = "bad";
    say("");
    const table = $("versions");
    table.replaceChildren();
    if (chosen.versions.length) table.append(heads(""));
    chosen.versions.forEach((version, index) => {
      const row = make("tr", "version"), first = make("td");
      if (index < 9) first.append(make("kbd", "", String(index + 1)), " ");
      first.append(make("bdi", "", version.name));
      if (version.name === chosen.favourite) first.append(" ★");
      if (version.lost) { const lost = make("div", "bad", version.lost); first.append(lost); }
      row.append(first, ...figureCells(version.figures));
      row.addEventListener("click", () => hear(index));
      table.append(row);
    });
    const found = $("findings");
    found.replaceChildren(...chosen.findings.map(([topic, figure, severity, sentence]) => {
      const row = make("tr");
      row.append(make("td", "", topic), make("td", severity, severity), make("td", "", figure), make("td", "text", sentence));
      return row;
    }));
    found.parentElement.hidden = !chosen.findings.length;
    $("note").textContent = [
      chosen.leftOut.length ? `Not compared, as they are several signals: ${chosen.leftOut.join(", ")}.` : "",
      chosen.original ? `Held against the original ${chosen.original}.` : "",
    ].filter(Boolean).join(" ");
    load();
    drawRows(); intoView(); drawVersion();
  }
  function drawVersion() {
    const chosen = song();
    if (!chosen) return;
    [...$("versions").querySelectorAll("tr.version")].forEach((row, index) => row.classList.toggle("chosen", index === current));
    const version = chosen.versions[current], plain = chosen.versions[0], pictures = [];
    if (version) {
      pictures.push(picture(version.picture, version.name));
      if (view === 1 && current > 0) pictures.push(picture(plain.picture, plain.name));
      if (view === 2 && version.difference)
        pictures.push(picture(version.difference, "more (orange) or less (blue) than the plain decode, equally loud; full colour: 24 dB"));
    }
    $("pictures").replaceChildren(...pictures);
    const bars = [];
    if (version && current > 0) bars.push(octaves("Level by octave against the plain decode, dB", version.octaves));
    if (version && version.against) bars.push(octaves("Level by octave against the original, dB", version.against));
    $("octaves").replaceChildren(...bars);
    drawTransport();
  }
  function picture(url, caption) {
    const frame = make("div", "picture"), image = make("img"), cutoff = song().cutoff, top = song().rate / 2;
    image.alt = `Spectrum over time: ${caption}`;
    image.src = url;
    frame.append(image, make("span", "caption", caption));
    for (let hz = 0; hz < top; hz += 5000) {
      const label = make("span", "hz", `${hz / 1000} kHz`);
      label.style.bottom = `${(100 * hz) / top}%`;
      frame.append(label);
    }
    if (cutoff) { const line = make("div", "cut"); line.style.bottom = `${(100 * cutoff) / top}%`; frame.append(line); }
    frame.append(make("div", "region"), make("div", "head"));
    frame.addEventListener("click", (event) => {
      const box = frame.getBoundingClientRect();
      seek(((event.clientX - box.left) / box.width) * song().duration);
    });
    return frame;
  }
  function octaves(title, levels) {
    const box = make("section"), bars = make("div", "bars");
    levels.forEach((level, index) => {
      const one = make("div"), well = make("div", "well"), bar = make("i", level > 0 ? "more" : "less"), hz = data.octaves[index];
      bar.style.height = `${Math.min(50, (50 * Math.abs(level ?? 0)) / 12)}%`;
      well.append(bar);
      one.append(well, document.createTextNode(hz < 1000 ? `${hz}` : `${hz / 1000}k`), make("br"), number(level, 1));
      bars.append(one);
    });
    box.append(make("h3", "", title), bars);
    return box;
  }
  function drawTransport() {
    if (!song()) return;
    const now = players.length ? heard().currentTime : 0, length = song().duration || 1;
    $("play").textContent = running ? "pause" : "play";
    $("time").textContent = `${clock(now)} / ${clock(length)}`;
    $("match").textContent = matched ? "equally loud" : "as loud as they are";
    $("view").textContent = VIEWS[view];
    const [from, to] = region;
    $("loop").textContent = from === null && to === null ? "" : `loop ${clock(from ?? 0)} to ${clock(to ?? length)}${looping ? "" : ", off"}`;
    for (const head of document.querySelectorAll(".head")) head.style.left = `${(100 * now) / length}%`;
    for (const part of document.querySelectorAll(".region")) {
      part.hidden = from === null && to === null;
      part.style.left = `${(100 * (from ?? 0)) / length}%`;
      part.style.right = `${100 - (100 * (to ?? length)) / length}%`;
    }
  }
  function overview() {
    pause();
    place = -1;
    $("song").hidden = true; $("summary").hidden = false;
    drawRows();
  }

  // --- keys, as in the listen screen --------------------------------------------------------------------
  const mark = (which) => {
    region[which] = heard() ? heard().currentTime : null;
    if (region[0] !== null && region[1] !== null && region[0] >= region[1]) region[1 - which] = null;
    looping = region[1] !== null;
  };
  const KEYS = [
    [[" "], "space", "play, pause", () => (running ? pause() : play())],
    [[..."123456789"], "1 … 9", "hear a variant", (key) => hear(Number(key) - 1)],
    [["ArrowUp", "ArrowDown"], "↑ ↓", "hear the one above, below", (key) => hear(current + (key === "ArrowUp" ? -1 : 1))],
    [["Tab"], "Tab", "A/B: the one heard before (Shift+Tab reaches the buttons)", () => hear(before)],
    [["ArrowLeft", "ArrowRight"], "← →", "5 s back, on; with Shift (or , .) 1 s",
      (key, shift) => seek(heard().currentTime + (key === "ArrowLeft" ? -1 : 1) * (shift ? 1 : 5))],
    [[",", "."], "", "", (key) => seek(heard().currentTime + (key === "," ? -1 : 1))],
    [["Home"], "Home", "to the start (of the loop)", () => seek((looping && region[0]) || 0)],
    [["i"], "i", "loop from here", () => mark(0)],
    [["o"], "o", "loop to here", () => mark(1)],
    [["l"], "l", "loop on, off", () => { looping = !looping && (region[0] !== null || region[1] !== null); }],
    [["c"], "c", "no loop", () => { region = [null, null]; looping = false; }],
    [["m"], "m", "equally loud, or as loud as they are", () => { matched = !matched; setLevels(); }],
    [["-", "+", "="], "- +", "softer, louder",
      (key) => { volume = Math.max(0.05, Math.min(1, volume * (key === "-" ? 0.84 : 1.19))); setLevels(); }],
    [["s"], "s", "spectrum, two, the difference", () => { view = (view + 1) % VIEWS.length; drawVersion(); }],
    [["PageDown", "PageUp"], "PgDn PgUp", "next, previous song", (key) => choose(place + (key === "PageDown" ? 1 : -1))],
    [["/"], "/", "find a song", () => $("find").focus()],
    [["q", "Escape"], "q", "all songs", overview],
    [["?"], "?", "these keys", () => $("keys").showModal()],
  ];
  const ALWAYS = new Set(["PageDown", "PageUp", "/", "?", "q", "Escape"]);
  const actions = new Map(KEYS.flatMap(([keys, , , action]) => keys.map((key) => [key, action])));
  document.addEventListener("keydown", (event) => {
    const target = event.target, inForm = target.closest("input, select, dialog");
    if (inForm) { if (event.key === "Escape" && target.id === "find") target.blur(); return; }
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const onButton = target.closest("button, summary");
    if (onButton && [" ", "Enter", "Tab"].includes(event.key)) return;
    if (event.key === "Tab" && event.shiftKey) return;
    const action = actions.get(event.key);
    if (!action || (!ALWAYS.has(event.key) && !(song() && players.length))) return;
    event.preventDefault();
    action(event.key, event.shiftKey);
    drawTransport();
  });

  // --- begin --------------------------------------------------------------------------------------------
  document.title = `${data.title}: mp3restore report`;
  $("title").textContent = data.title;
  $("counts").textContent = data.counts;
  data.columns.forEach((column, index) => {
    const option = make("option", "", `most ${column.title}`);
    option.value = index;
    $("sort").append(option);
    $("legend").append(make("dt", "", `${column.title} (${column.unit})`), make("dd", "", column.tells));
  });
  const medians = $("medians");
  medians.append(heads("variant, songs"));
  for (const line of data.summary) {
    const row = make("tr"), first = make("td", "", `${line.name}, ${line.songs}`);
    if (line.lost) first.append(make("div", "bad", `${line.lost} lost much of their song`));
    row.append(first, ...figureCells(line.figures));
    medians.append(row);
  }
  for (const [, keys, does] of KEYS.filter(([, keys]) => keys)) {
    const row = make("tr"), first = make("td");
    first.append(make("kbd", "", keys));
    row.append(first, make("td", "", does));
    $("keytable").append(row);
  }
  const pressed = (id, action) => $(id).addEventListener("click", () => { action(); $(id).blur(); drawTransport(); });
  pressed("play", () => (running ? pause() : play()));
  pressed("match", () => { matched = !matched; setLevels(); });
  pressed("view", () => { view = (view + 1) % VIEWS.length; drawVersion(); });
  pressed("all", overview);
  pressed("help", () => $("keys").showModal());
  pressed("theme", () => {
    const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = root.dataset.theme || (dark ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
  $("find").addEventListener("input", refill);
  $("find").addEventListener("keydown", (event) => { if (event.key === "Enter") { $("find").blur(); choose(0); } });
  $("sort").addEventListener("change", () => { refill(); $("sort").blur(); });
  $("list").addEventListener("scroll", drawRows);
  addEventListener("resize", drawRows);
  setInterval(keepInStep, 100);
  setInterval(() => { if (running) drawTransport(); }, 100);
  refill();
  if (data.songs.length === 1) choose(0);
})();
