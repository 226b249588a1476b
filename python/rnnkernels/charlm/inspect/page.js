// What the page of `rnnkernels inspect` does: lists units by how telling they are, and colours the text by one of them.
//
// data.values holds one byte for each unit and character, unit after unit: 128 is zero, 1 and 255 are -scale and +scale.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const characters = Array.from(data.text); // by code points, as the values are
const values = bytes(data.values);
const masks = data.properties.map((property) => bits(property.mask, characters.length));
const palette = Array.from({ length: 256 }, (_, byte) => colour((byte - 128) / 127));
const spans = [];
const at = (id) => document.getElementById(id);
const shown = { property: 0, rank: 0 };

function bytes(base64) {
  const binary = atob(base64);
  const found = new Uint8Array(binary.length);
  for (let k = 0; k < binary.length; k++) found[k] = binary.charCodeAt(k);
  return found;
}

function bits(base64, count) {
  const packed = bytes(base64);
  return Array.from({ length: count }, (_, k) => ((packed[k >> 3] >> (7 - (k & 7))) & 1) === 1);
}

/** The colour of a value in [-1, 1]: blue below zero, orange above. */
function colour(value) {
  const strength = Math.min(Math.abs(value), 1).toFixed(3);
  return value < 0 ? `rgba(70, 140, 230, ${strength})` : `rgba(245, 130, 40, ${strength})`;
}

/** How far an area under the ROC curve is from saying nothing; null where the property has none. */
function telling(area) {
  return area === null ? 0 : Math.max(area, 1 - area);
}

/** The numbers of the units, the most telling of a property first. */
function ranking(property) {
  const areas = data.units.map((unit) => telling(unit.auc[property]));
  return data.units.map((_, k) => k).sort((a, b) => areas[b] - areas[a] || a - b);
}

/** An area in words: ▲ where the unit is high inside what the property names, ▼ where it is low there. */
function area(unit, property) {
  const found = data.units[unit].auc[property];
  return found === null ? "–" : `${found < 0.5 ? "▼" : "▲"} ${telling(found).toFixed(3)}`;
}

function drawText() {
  const visible = { "\n": "↵", "\t": "→\t" };
  const all = document.createDocumentFragment();
  let line = document.createElement("div");
  let [row, column] = [1, 1];
  characters.forEach((character, k) => {
    const span = document.createElement("span");
    const code = character.codePointAt(0);
    span.textContent = visible[character] ?? (code < 32 ? String.fromCharCode(0x2400 + code) : character);
    if (code < 32) span.className = "mark";
    span.dataset.k = k;
    span.dataset.place = `${row}:${column}`;
    spans.push(span);
    line.append(span);
    column += 1;
    if (character === "\n" || k === characters.length - 1) {
      all.append(line);
      line = document.createElement("div");
      [row, column] = [row + 1, 1];
    }
  });
  at("text").append(all);
}

function drawProperties() {
  data.properties.forEach((property, p) => {
    const button = document.createElement("button");
    const best = ranking(p)[0];
    button.innerHTML = "<span></span> <b></b>";
    button.children[0].textContent = property.says;
    button.children[1].textContent = area(best, p);
    button.title = `${(100 * property.share).toFixed(1)} % of the characters`;
    button.disabled = data.units[best].auc[p] === null;
    button.addEventListener("click", () => show(p, 0));
    at("properties").append(button);
  });
}

/** Colour the text by the unit that stands at a place of a property's ranking. */
function show(property, rank) {
  const ranked = ranking(property);
  if (property !== shown.property || !at("units").children.length) drawUnits(property, ranked);
  Object.assign(shown, { property, rank: Math.min(Math.max(rank, 0), ranked.length - 1) });
  const number = ranked[shown.rank];
  const unit = data.units[number];
  const first = number * characters.length;
  spans.forEach((span, k) => (span.style.backgroundColor = palette[values[first + k]]));
  [...at("properties").children].forEach((each, p) => each.setAttribute("aria-pressed", p === property));
  [...at("units").children].forEach((each, k) => each.firstChild.setAttribute("aria-current", k === shown.rank));
  at("units").children[shown.rank].scrollIntoView({ block: "nearest" });
  at("unit").textContent = `${unit.name}  AUC ${area(number, property)}`;
  at("says").textContent = data.properties[property].says;
  at("low").textContent = (-unit.scale).toPrecision(2);
  at("high").textContent = `+${unit.scale.toPrecision(2)}`;
  at("previous").disabled = shown.rank === 0;
  at("next").disabled = shown.rank === ranked.length - 1;
  underline();
  history.replaceState(null, "", `#${data.properties[property].name}/${shown.rank + 1}`);
}

function drawUnits(property, ranked) {
  at("units").replaceChildren(
    ...ranked.map((unit, rank) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.innerHTML = "<span></span><span></span>";
      button.children[0].textContent = data.units[unit].name;
      button.children[1].textContent = area(unit, property);
      button.addEventListener("click", () => show(property, rank));
      item.append(button);
      return item;
    }),
  );
}

function underline() {
  const mask = masks[shown.property];
  const wanted = at("truth").checked;
  spans.forEach((span, k) => span.classList.toggle("has", wanted && mask[k]));
}

/** Say what is under the pointer: its place, the unit's value, and which properties it has. */
function point(event) {
  const k = event.target.dataset?.k;
  if (k === undefined) return;
  const number = ranking(shown.property)[shown.rank];
  const value = ((values[number * characters.length + Number(k)] - 128) / 127) * data.units[number].scale;
  const has = data.properties.filter((_, p) => masks[p][k]).map((property) => property.says);
  const sign = value < 0 ? "" : "+";
  at("pointed").textContent = [event.target.dataset.place, sign + value.toFixed(2), ...has].join("  ");
}

/** The property and the place in its ranking that the address names, as in page.html#comment/3. */
function addressed() {
  const [name, rank] = decodeURIComponent(location.hash.slice(1)).split("/");
  const property = data.properties.findIndex((each) => each.name === name);
  return property < 0 ? [0, 0] : [property, (Number.parseInt(rank, 10) || 1) - 1];
}

drawText();
drawProperties();
show(...addressed());
at("previous").addEventListener("click", () => show(shown.property, shown.rank - 1));
at("next").addEventListener("click", () => show(shown.property, shown.rank + 1));
at("truth").addEventListener("change", underline);
at("text").addEventListener("mouseover", point);
addEventListener("hashchange", () => show(...addressed()));
addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step !== undefined && !event.altKey && !event.ctrlKey && !event.metaKey) show(shown.property, shown.rank + step);
});
at("gradient").style.background = `linear-gradient(to right, ${colour(-1)}, ${colour(0)}, ${colour(1)})`;
