// Runs the script of a page of `rnnkernels inspect` on a document of stubs: node page_dom.js PAGE [HASH]
//
// Prints as JSON what the page shows: the unit, the colour of each character, the units in their order.
"use strict";

const fs = require("node:fs");
const vm = require("node:vm");

class Element {
  constructor(name) {
    Object.assign(this, { name, children: [], style: {}, dataset: {}, attributes: {}, textContent: "", checked: false });
    this.classes = new Set();
    this.classList = { toggle: (each, wanted) => (wanted ? this.classes.add(each) : this.classes.delete(each)) };
  }
  append(...more) {
    for (const each of more) this.children.push(...(each.name === "fragment" ? each.children : [each]));
  }
  replaceChildren(...more) {
    this.children = [];
    this.append(...more);
  }
  setAttribute(name, value) {
    this.attributes[name] = String(value);
  }
  addEventListener() {}
  scrollIntoView() {}
  get firstChild() {
    return this.children[0];
  }
  set innerHTML(markup) {
    this.children = [...markup.matchAll(/<(\w+)>/g)].map((found) => new Element(found[1]));
  }
}

const page = fs.readFileSync(process.argv[2], "utf8");
const elements = {};
const at = (id) => (elements[id] ??= new Element(id));
at("data").textContent = page.match(/<script type="application\/json" id="data">(.*?)<\/script>/s)[1];
globalThis.document = {
  getElementById: at,
  createElement: (name) => new Element(name),
  createDocumentFragment: () => new Element("fragment"),
};
globalThis.location = { hash: process.argv[3] ?? "" };
globalThis.history = { replaceState() {} };
globalThis.addEventListener = () => {};
vm.runInThisContext(page.match(/<script>(.*?)<\/script>/s)[1]);
const texts = (element) => element.children.map((each) => each.textContent);
const shown = {
  unit: at("unit").textContent,
  units: at("units").children.map((item) => texts(item.children[0])),
  properties: at("properties").children.map((button) => [...texts(button), button.disabled]),
  colours: at("text").children.flatMap((line) => line.children.map((span) => span.style.backgroundColor)),
  lines: at("text").children.map((line) => texts(line).join("")),
};
process.stdout.write(JSON.stringify(shown));
