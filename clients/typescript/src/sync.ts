// What users see of runs.

import { timestampDate, type Timestamp } from "@bufbuild/protobuf/wkt";
import type { Run } from "../gen/docket/schedule/v1/run_pb.js";
import { RunState, type RunSummary, type Schedule } from "../gen/docket/schedule/v1/schedule_pb.js";

export type Sync = {
  run: string;
  ended: string | undefined;
  ok: boolean;
  documentsNew: number;
  // For people. Of the failure, with what to do.
  text: string;
};

// Of runs and of their summaries in a schedule alike.
export function outcome(run: Run | RunSummary): Sync {
  const count = run.result?.["documents_new"];
  return {
    run: run.runId,
    ended: iso(run.finishTime),
    ok: run.state === RunState.SUCCEEDED,
    documentsNew: typeof count === "number" ? count : 0,
    text: run.failure?.message ?? "",
  };
}

export function lastSync(schedule: Schedule): Sync | undefined {
  return schedule.lastRun && outcome(schedule.lastRun);
}

export function isFinal(state: RunState): boolean {
  return [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED].includes(state);
}

export function iso(time: Timestamp | undefined): string | undefined {
  return time && timestampDate(time).toISOString();
}
