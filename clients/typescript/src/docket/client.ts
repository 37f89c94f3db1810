// Docket's services for an app's back end. Make one Docket per process: a connection each carries all calls.

import { setTimeout as sleep } from "node:timers/promises";
import { createClient, type Client, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { DocumentService } from "../../gen/docket/library/v1/document_service_pb.js";
import { MailboxService } from "../../gen/docket/library/v1/mailbox_service_pb.js";
import { RunService } from "../../gen/docket/schedule/v1/run_service_pb.js";
import { ScheduleService } from "../../gen/docket/schedule/v1/schedule_service_pb.js";
import { passes, refusal } from "./errors.js";

export type Docket = {
  schedules: Client<typeof ScheduleService>;
  runs: Client<typeof RunService>;
  mailboxes: Client<typeof MailboxService>;
  documents: Client<typeof DocumentService>;
};

// As in http://127.0.0.1:7310 for scheduler-svc, http://127.0.0.1:7320 for worker-svc.
export type Addresses = { scheduler: string; library: string };

// Of a call that names no `timeoutMs` itself. A user waits for it.
const TIMEOUT_MS = 10_000;
const TRIES = 4;
const FIRST_PAUSE_MS = 100;

export function connect(addresses: Addresses): Docket {
  const scheduler = transport(addresses.scheduler);
  const library = transport(addresses.library);
  return {
    schedules: createClient(ScheduleService, scheduler),
    runs: createClient(RunService, scheduler),
    mailboxes: createClient(MailboxService, library),
    documents: createClient(DocumentService, library),
  };
}

function transport(baseUrl: string) {
  return createGrpcTransport({
    baseUrl,
    defaultTimeoutMs: TIMEOUT_MS,
    // A stream of events is silent for hours, and a peer that vanished is noticed by nothing else.
    pingIntervalMs: 20_000,
    interceptors: [repeat],
  });
}

// Repeats what passes: the scheduler restarts, or another one takes over. The call may have been applied, so give each
// change a `requestId`; upserts are safe as they are.
const repeat: Interceptor = (next) => async (request) => {
  if (request.stream) return next(request);
  for (let attempt = 1; ; attempt++) {
    try {
      return await next(request);
    } catch (error) {
      if (attempt === TRIES || request.signal.aborted || !passes(error)) throw error;
      const pause = FIRST_PAUSE_MS * 2 ** attempt * (0.5 + Math.random());
      await sleep(refusal(error).retryAfterMs ?? pause, undefined, { signal: request.signal });
    }
  }
};
