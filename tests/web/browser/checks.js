({
  visible(selector) {
    return [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility());
  },

  withText() {
    const said = (node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim();
    return this.visible("body *").filter((element) => [...element.childNodes].some(said));
  },

  brief: (elements) => elements.map((element) => element.outerHTML.slice(0, 90)),

  /** What reaches out of the window; lists, dialogs and the bar of keys may be longer than shown. */
  outside() {
    const root = document.documentElement;
    const tall = ".list, .drop, .keys, dialog";
    const out = this.visible("header, main, section, aside, nav, button").filter((element) => {
      const box = element.getBoundingClientRect();
      return box.right > innerWidth + 1 || (box.bottom > innerHeight + 1 && !element.closest(tall));
    });
    const bar = document.querySelector("#toolbar");
    const over = [root.scrollWidth - innerWidth, root.scrollHeight - innerHeight, bar.scrollWidth - bar.clientWidth];
    return [...over.filter((pixels) => pixels > 0), ...this.brief(out)];
  },

  /** What reaches out of the window to the right, or out of the bar of tools. */
  beside() {
    const bar = document.querySelector("#toolbar").getBoundingClientRect();
    const out = this.visible("header, main, section, aside, nav, button, input, select").filter((element) => {
      const box = element.getBoundingClientRect();
      return box.right > innerWidth + 1 || (element.closest("#toolbar") && (box.right > bar.right || box.bottom > bar.bottom));
    });
    return this.brief(out);
  },

  nameless() {
    const named = (element) => element.ariaLabel || element.textContent.trim() || element.labels?.length;
    return this.brief(this.visible("button, input, select, canvas[tabindex]").filter((element) => !named(element)));
  },

  small() {
    return this.brief(this.withText().filter((element) => parseFloat(getComputedStyle(element).fontSize) < 13));
  },

  /** WCAG 2.2: text needs a contrast of 4.5. */
  poor() {
    const parse = (text) => text.match(/[\d.]+/g).map(Number);
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const ground = (element) => {
      for (let e = element; e; e = e.parentElement) {
        const colour = parse(getComputedStyle(e).backgroundColor);
        if (colour.length === 3 || colour[3] === 1) return colour;
      }
      return [0, 0, 0];
    };
    const ratio = (element) => {
      const both = [light(parse(getComputedStyle(element).color)), light(ground(element))];
      return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    };
    return this.brief(this.withText().filter((element) => !element.disabled && ratio(element) < 4.5));
  },
})
