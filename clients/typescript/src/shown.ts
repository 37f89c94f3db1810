// What a user is shown when Docket refuses: a status for the page, a text, and the fields of the form that are wrong.

import { json } from "./app.js";
import { passes, refusal } from "./docket/errors.js";
import { formField } from "./form.js";

type Shown = { status: number; text: string };

// By reason (docs/errors.md). New reasons may come, so there is a text for those that are not here.
const BY_REASON: Record<string, Shown> = {
  INVALID_FIELD: { status: 422, text: "Please check what is marked." },
  NEVER_FIRES: { status: 422, text: "No such time will ever come." },
  SCHEDULE_NOT_FOUND: { status: 404, text: "There is no schedule yet." },
  RUN_NOT_FOUND: { status: 404, text: "This sync is too long ago." },
  ETAG_MISMATCH: { status: 409, text: "Somebody has changed the schedule meanwhile." },
  SCHEDULE_EXISTS: { status: 409, text: "Somebody has saved a schedule meanwhile." },
  SCHEDULE_REPLACED: { status: 409, text: "The schedule was made anew meanwhile. Please load the page again." },
  REQUEST_ID_REUSED: { status: 409, text: "This was sent already. Please load the page again." },
  SCHEDULE_PAUSED: { status: 409, text: "The schedule is paused. Resume it first." },
  SCHEDULE_QUARANTINED: { status: 409, text: "The schedule was set aside. Save it again." },
};
const PASSES: Shown = { status: 503, text: "This does not work at the moment. Please try again." };
const FAULT: Shown = { status: 500, text: "Something is wrong on our side." };

// `more` is what else the page needs.
export function shown(error: unknown, more: object = {}): Response {
  const { reason, fields, message } = refusal(error);
  const known = BY_REASON[reason] ?? (passes(error) ? PASSES : FAULT);
  // A fault is ours: the log gets what the user cannot use.
  if (known === FAULT) console.error(`docket refused: ${reason} ${message}`);
  const marked = fields.map(({ field, text }) => ({ field: formField(field), text }));
  return json({ reason, text: known.text, fields: marked, ...more }, known.status);
}
