/**
 * What to do after each failure of the Hetzner API, as data: facts/cloud-apis 1.3, with the difference between reads and writes that
 * the official clients do not make.
 */

import type { TransportFailure } from './transport.ts'

/** POST stands for a create. An action that sets a state, such as `set_rules`, is judged as PUT: doing it twice ends the same. */
export type Verb = 'GET' | 'POST' | 'PUT' | 'DELETE'

export type Verdict =
  /** It had no effect, or a second one would change nothing: send again, a few times. */
  | 'retry'
  /** Too many requests; certainly not executed: everybody pauses, then send again. */
  | 'paced'
  /** Something else still works on it: send again for a bounded time. */
  | 'wait'
  /** It may have happened: look for it, and send again only when it is not there. */
  | 'read_back'
  /** It may have happened, or somebody has the name: look for it, and never send again. */
  | 'look'
  /** What should be deleted is not there. */
  | 'gone'
  | 'fail'

export interface Row extends Readonly<Record<Verb, Verdict>> {
  readonly why: string
}

const all = (verdict: Verdict, why: string): Row => ({ GET: verdict, POST: verdict, PUT: verdict, DELETE: verdict, why })
const lost = (why: string): Row => ({ GET: 'retry', POST: 'read_back', PUT: 'retry', DELETE: 'retry', why })
const broken = (why: string): Row => ({ GET: 'retry', POST: 'look', PUT: 'fail', DELETE: 'fail', why })

const REPEATABLE = 'PUT and DELETE name one object by id and end in the same state when done twice; a create does not'
const HETZNER_SAYS = 'Hetzner asks not to repeat writes after it (cli #249); a create may have left something paid behind'

/** By the vendor's error code, by `http_<status>` for an answer without one, or by how the transport failed. */
export const RETRY_TABLE = {
  json_error: all('fail', 'our defect'),
  invalid_input: all('fail', 'the request will not become valid'),
  unsupported_error: all('fail', 'the request will not become valid'),
  method_not_allowed: all('fail', 'our defect'),
  deprecated_api_endpoint: all('fail', 'Landfall needs an upgrade'),

  unauthorized: all('fail', 'the token will not become good'),
  token_readonly: all('fail', 'the token will not become good'),
  forbidden: all('fail', 'the token will not become good'),
  maintenance: all('fail', 'it lasts longer than a command should'),
  resource_limit_exceeded: all('fail', 'a person has to raise the limit'),

  not_found: { ...all('fail', 'the world differs from what was seen'), DELETE: 'gone' },
  uniqueness_error: { ...all('fail', 'a repeated create may have met its own first try, or a stranger'), POST: 'look' },
  conflict: all('retry', 'refused because the object changed meanwhile; the vendor asks to try again'),
  locked: all('wait', 'another action runs on it, perhaps one that we did not start'),
  protected: all('fail', 'only the operator lifts a protection'),

  resource_unavailable: all('fail', 'no capacity: another type or location, never a loop'),
  placement_error: all('fail', 'no capacity: another type or location, never a loop'),
  service_error: all('fail', 'says nothing about what happened'),
  server_not_stopped: all('fail', 'the step has to stop it first'),
  primary_ip_assigned: all('fail', 'somebody else uses the address'),
  firewall_already_applied: all('fail', 'the caller counts it as done'),
  resource_in_use: { ...all('fail', 'a firewall lingers in use after its servers are gone'), DELETE: 'wait' },
  must_be_unassigned: { ...all('fail', 'an address lingers on a server that is gone'), DELETE: 'wait' },

  rate_limit_exceeded: all('paced', 'refused before it was looked at'),
  server_error: broken(HETZNER_SAYS),
  unavailable: broken(HETZNER_SAYS),
  bad_gateway: lost(REPEATABLE),
  timeout: lost(REPEATABLE),

  http_429: all('paced', 'refused before it was looked at'),
  http_500: broken(HETZNER_SAYS),
  http_502: lost(REPEATABLE),
  http_503: broken(HETZNER_SAYS),
  http_504: lost(REPEATABLE),
  http_4xx: all('fail', 'refused for a reason we do not know'),
  http_5xx: broken('unknown to us, so treated as the careful case'),

  unreachable: all('retry', 'no connection, so nothing was sent'),
  untrusted: all('fail', 'whoever answered is not Hetzner'),
  no_answer: lost(REPEATABLE),
  /** A success whose body cannot be read. */
  unreadable: lost(REPEATABLE),
} as const satisfies Record<string, Row> & Record<TransportFailure, Row>

const rows: Readonly<Record<string, Row>> = RETRY_TABLE

/** The verdict for a failure; codes that the table does not name go by their status. */
export function verdictOf(
  verb: Verb,
  failure: { readonly vendorCode?: string | undefined; readonly status?: number | undefined },
): Verdict {
  const named = failure.vendorCode !== undefined && Object.hasOwn(rows, failure.vendorCode) ? rows[failure.vendorCode] : undefined
  const row = named ?? ((failure.status ?? 0) >= 500 ? RETRY_TABLE.http_5xx : RETRY_TABLE.http_4xx)
  return row[verb]
}
