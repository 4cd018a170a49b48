// Redraw the figure under the pointer with tooltips and zoom. One figure is live at a time: ids of
// clip paths are counted per view, so two live views would share them.
// vegaEmbed is a name of the bundle (vl_convert.javascript_bundle).

const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

// Texts of the data are set as text, never as markup.
function tooltip(_handler, event, _item, value) {
  if (value === null || value === undefined || value === "") {
    tip.hidden = true;
    return;
  }
  const rows = typeof value === "object" ? Object.entries(value) : [["", value]];
  tip.replaceChildren(
    ...rows.map(([name, text]) => {
      const row = document.createElement("div");
      row.textContent = name ? `${name}: ${text}` : String(text);
      return row;
    }),
  );
  tip.hidden = false;
  const right = event.clientX + 14 + tip.offsetWidth > window.innerWidth;
  tip.style.left = `${event.clientX + (right ? -14 - tip.offsetWidth : 14)}px`;
  tip.style.top = `${event.clientY + 14}px`;
}

let live = null;

async function enliven(figure) {
  if (live && live.figure === figure) return;
  if (live) live.restore();
  const still = figure.querySelector(".still");
  const view = figure.querySelector(".view");
  const spec = JSON.parse(figure.querySelector("script").textContent);
  let finalize = () => {};
  live = {
    figure,
    restore: () => {
      finalize();
      view.replaceChildren();
      view.hidden = true;
      still.hidden = false;
      tip.hidden = true;
      live = null;
    },
  };
  const mine = live;
  const made = await vegaEmbed(view, spec, {
    actions: false,
    ast: true,
    defaultStyle: false,
    renderer: "svg",
    mode: "vega-lite",
    tooltip,
  });
  if (live !== mine) {
    made.finalize();
    return;
  }
  finalize = made.finalize;
  still.hidden = true;
  view.hidden = false;
  figure.dataset.live = "yes";
}

for (const figure of document.querySelectorAll("figure.chart")) {
  figure.addEventListener("pointerenter", () => enliven(figure));
}
window.addEventListener("beforeprint", () => live && live.restore());
