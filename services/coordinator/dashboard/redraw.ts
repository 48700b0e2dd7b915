let draw: () => void = () => {};
let due = false;

/** Names what draws the page; called once. */
export function drawWith(function_: () => void): void {
  draw = function_;
}

/** Draws the page again before the next frame; many calls in one frame are one. */
export function redraw(): void {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    draw();
  });
}
