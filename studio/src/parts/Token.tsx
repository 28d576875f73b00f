/** Asks for the token of a server that is not on this machine. */

import { useEffect, useRef } from "preact/hooks";
import { tokenWanted } from "../state";

export function Token() {
  const dialog = useRef<HTMLDialogElement>(null);
  const wanted = tokenWanted.value;
  useEffect(() => {
    if (wanted) dialog.current?.showModal();
    else dialog.current?.close();
  }, [wanted]);
  return (
    <dialog ref={dialog} class="help" aria-label="Token" onCancel={() => wanted?.give(null)}>
      <form
        class="panel-body token"
        onSubmit={(event) => {
          event.preventDefault();
          const { token } = Object.fromEntries(new FormData(event.currentTarget));
          wanted?.give(String(token).trim() || null);
        }}
      >
        <h2>This server wants a token</h2>
        <p>
          {wanted?.refused ? "That was not it. " : ""}It is in the environment variable
          ARIETTA_TOKEN of whoever started the server.
        </p>
        <input name="token" type="password" aria-label="Token" autocomplete="current-password" />
        <button type="submit" class="chip strong">
          Go on
        </button>
      </form>
    </dialog>
  );
}
