// Charts of a page: each <figure class="chart"> contains its data as JSON. Requires uPlot. Loads nothing.
"use strict";
(() => {
  const HEIGHT = 235; // pixels
  const PRINTED_WIDTH = 640; // pixels; fits on A4 and on letter paper
  const N_COLORS = 8;
  const MARKER_LINES = 2;
  const ZOOM = { in: 0.5, out: 2 };
  const cursors = uPlot.sync("cursors of all charts");
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;

  const color = (name) => {
    probe.style.color = `var(${name})`; // the style resolves light-dark(), which a canvas cannot
    return getComputedStyle(probe).color;
  };
  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    made.textContent = text;
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  };
  const exact = (value) => (value == null ? "-" : String(value));
  const short = (value) => {
    if (value == null) return "-";
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-3 || size >= 1e5) ? (+value.toPrecision(6)).toExponential() : String(+value.toPrecision(6));
  };
  const colorOf = (series) => color(`--series-${series.color % N_COLORS}`);

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.data = JSON.parse(figure.querySelector("script").textContent);
      this.box = figure.querySelector(".plot");
      this.shown = this.data.series.map(() => true);
      this.isLog = false;
      this.addLegend();
      this.addTools();
      this.addKeys();
      figure.querySelector("details").addEventListener("toggle", () => this.addTable());
      this.draw();
      new ResizeObserver(() => this.resize(this.box.clientWidth)).observe(this.box);
    }

    draw() {
      const range = this.plot && [this.plot.scales.x.min, this.plot.scales.x.max];
      this.plot?.destroy();
      this.plot = new uPlot(this.options(), [this.data.x, ...this.data.series.map((each) => this.values(each))], this.box);
      if (range) this.plot.setScale("x", { min: range[0], max: range[1] });
      this.keys.forEach((key, number) => key.style.setProperty("--key", colorOf(this.data.series[number])));
      this.showValues();
    }

    values(series) {
      return this.isLog ? series.values.map((value) => (value > 0 ? value : null)) : series.values;
    }

    options() {
      const line = { stroke: color("--grid"), width: 1 };
      const axis = { stroke: color("--muted"), font: "12px system-ui, sans-serif", grid: line, ticks: line };
      const format = (_plot, splits) => splits.map((value) => (value == null ? "" : short(value)));
      return {
        width: this.box.clientWidth || PRINTED_WIDTH,
        height: HEIGHT,
        padding: [this.data.markers.length ? 18 : null, null, null, null],
        legend: { show: false },
        cursor: { sync: { key: cursors.key }, points: { size: 8 } },
        scales: {
          x: { time: false, range: (_plot, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) },
          y: { distr: this.isLog ? 3 : 1 },
        },
        axes: [
          { ...axis, values: format, size: 30, label: this.data.x_label, labelSize: 18, labelGap: 0, labelFont: axis.font, incrs: [1, 2, 5].flatMap((step) => [1, 10, 100, 1e3, 1e4, 1e5].map((n) => n * step)).sort((a, b) => a - b) },
          { ...axis, values: format, size: 56 },
        ],
        series: [
          {},
          ...this.data.series.map((each, number) => ({
            label: each.label,
            show: this.shown[number],
            stroke: colorOf(each),
            width: 2,
            dash: each.is_dashed ? [6, 4] : undefined,
            spanGaps: true,
          })),
        ],
        hooks: { draw: [(plot) => this.drawMarkers(plot)], setCursor: [() => this.showValues()] },
      };
    }

    drawMarkers(plot) {
      const { ctx, bbox } = plot;
      const ratio = devicePixelRatio;
      const ends = []; // right end of the last text in each line of texts
      ctx.save();
      ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      ctx.lineWidth = ratio;
      ctx.textAlign = "left";
      ctx.textBaseline = "bottom";
      for (const { x, text, is_best: isBest } of this.data.markers) {
        const left = plot.valToPos(x, "x", true);
        if (left < bbox.left || left > bbox.left + bbox.width) continue;
        ctx.fillStyle = ctx.strokeStyle = color(isBest ? "--text" : "--muted");
        ctx.setLineDash(isBest ? [] : [4 * ratio, 3 * ratio]);
        ctx.beginPath();
        ctx.moveTo(left, bbox.top);
        ctx.lineTo(left, bbox.top + bbox.height);
        ctx.stroke();
        const width = ctx.measureText(text).width;
        const start = left + width + 8 * ratio > bbox.left + bbox.width ? left - width - 4 * ratio : left + 4 * ratio;
        let line = ends.findIndex((end) => end < start);
        if (line < 0) line = ends.length;
        if (line >= MARKER_LINES) continue; // many resumes: only their lines
        ends[line] = Math.max(left, start + width) + 4 * ratio;
        ctx.fillText(text, start, bbox.top + (13 * line - 2) * ratio); // the first line is above the plot
      }
      ctx.restore();
    }

    addLegend() {
      const legend = this.figure.querySelector(".legend");
      this.place = legend.querySelector(".x");
      this.keys = this.data.series.map((series, number) => {
        const key = element("button", "", { type: "button", class: "key", "aria-pressed": "true", title: "show or hide" });
        key.append(element("span", series.label), element("output", ""));
        key.addEventListener("click", () => {
          this.shown[number] = !this.shown[number];
          key.setAttribute("aria-pressed", this.shown[number]);
          this.plot.setSeries(number + 1, { show: this.shown[number] });
        });
        return legend.appendChild(key);
      });
    }

    showValues() {
      if (!this.plot) return; // uPlot moves its cursor while it is built
      const cursor = this.plot.cursor.idx;
      const index = cursor ?? this.data.x.length - 1;
      const format = cursor == null ? short : exact;
      this.place.textContent = `${this.data.x_label} ${exact(this.data.x[index])}`;
      this.keys.forEach((key, number) => {
        key.querySelector("output").textContent = format(this.data.series[number].values[index]);
      });
    }

    addTools() {
      const tools = this.figure.querySelector(".tools");
      tools.hidden = false;
      tools.addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (button?.dataset.do === "log") {
          this.isLog = !this.isLog;
          button.setAttribute("aria-pressed", this.isLog);
          this.draw();
        } else if (button?.dataset.do === "reset") {
          this.zoomTo(this.data.x[0], this.data.x.at(-1));
        } else if (button) {
          this.zoomBy(ZOOM[button.dataset.do]);
        }
      });
    }

    zoomBy(factor) {
      const { min, max } = this.plot.scales.x;
      const cursor = this.plot.cursor.idx;
      const middle = cursor == null ? (min + max) / 2 : this.data.x[cursor];
      const half = (factor * (max - min)) / 2;
      this.zoomTo(Math.max(middle - half, this.data.x[0]), Math.min(middle + half, this.data.x.at(-1)));
    }

    zoomTo(min, max) {
      this.plot.setScale("x", { min, max });
    }

    addKeys() {
      this.box.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const last = this.data.x.length - 1;
        const index = Math.min(Math.max((this.plot.cursor.idx ?? last) + step, 0), last);
        const left = this.plot.valToPos(this.data.x[index], "x");
        this.plot.setCursor({ left, top: this.plot.bbox.height / devicePixelRatio / 2 });
      });
    }

    addTable() {
      const box = this.figure.querySelector("details > .scroll");
      if (box.children.length) return;
      const table = element("table", "");
      const header = element("tr", "");
      header.append(...[this.data.x_label, ...this.data.series.map((each) => each.label)].map((text) => element("th", text, { scope: "col" })));
      table.createCaption().textContent = `${this.data.title}: all values`;
      table.createTHead().append(header);
      const body = table.createTBody();
      this.data.x.forEach((x, index) => {
        const row = body.insertRow();
        row.append(element("th", exact(x), { scope: "row" }));
        this.data.series.forEach((each) => row.append(element("td", exact(each.values[index]))));
      });
      box.append(table);
    }

    resize(width) {
      if (width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    }
  }

  const charts = [...document.querySelectorAll("figure.chart")].map((figure) => new Chart(figure));
  const redraw = () => charts.forEach((chart) => chart.draw());
  addEventListener("themechange", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    redraw(); // in the colours of paper
    charts.forEach((chart) => chart.resize(PRINTED_WIDTH));
  });
  addEventListener("afterprint", () => {
    redraw();
    charts.forEach((chart) => chart.resize(chart.box.clientWidth));
  });
})();
