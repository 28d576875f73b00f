/** Colours for a canvas, which knows no custom properties: asked of the element, as they apply. */

const probe = document.createElement("span");
probe.hidden = true;

export function resolver(element: Element): (name: string) => string {
  const parent = element.parentElement ?? element;
  parent.append(probe);
  return (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
}
