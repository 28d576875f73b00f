/** What the page tells: errors with what mends them, and whether the server answers. */

import { dismiss, link, notices } from "../state";
import { Icon } from "./Icon";

const LINKS = {
  up: null,
  lost: "The server does not answer. Nothing is lost; trying again …",
  busy: "The server has much to do. Waiting for our turn …",
};

export function Notices() {
  const state = LINKS[link.value];
  return (
    <div class="notices" aria-live="polite">
      {state && (
        <div class="notice" data-tone="link" role="status">
          <p>{state}</p>
        </div>
      )}
      {notices.value.map(({ id, tone, what, why, mend }) => (
        <div class="notice" key={id} data-tone={tone} role={tone === "problem" ? "alert" : "status"}>
          <div>
            <p class="notice-what">{what}</p>
            {why && <p>{why}</p>}
            {mend && <p class="notice-mend">{mend}</p>}
          </div>
          <button type="button" class="quiet" aria-label="Dismiss" onClick={() => dismiss(id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
