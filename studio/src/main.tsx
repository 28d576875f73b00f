import "./style.css";
import { render } from "preact";
import { restore, saveAlways } from "./actions/arrange";
import { openFirst, openGiven } from "./actions/files";
import { resumeWatching } from "./actions/mine";
import { loadBank, prepareOnGesture } from "./actions/playback";
import { App } from "./parts/App";
import { complain, sheets, startHistory } from "./state";

async function begin(): Promise<void> {
  const kept = await restore().catch(() => null);
  if (kept) {
    sheets.value = kept.sheets;
    startHistory(kept.arrangement);
  }
  const given = await openGiven();
  if (!given && !kept) await openFirst();
  saveAlways();
  await resumeWatching();
}

render(<App />, document.getElementById("studio")!);
loadBank().catch(complain);
prepareOnGesture();
begin().catch(complain);
