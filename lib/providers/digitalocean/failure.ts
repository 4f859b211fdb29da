/** DigitalOcean's refusals in our words. Bodies are `{id, message, request_id}`; branched on are the status and the id, never the message. */

import { type ErrorCode, LandfallError } from '../../errors.ts'
import { knownSecrets, type Secret } from '../../secret.ts'
import { createRedactor } from '../../ui/redact.ts'

export interface Failed {
  /** What was tried, to follow "Could not": "create server web-2". */
  readonly what: string
  readonly effect: 'read' | 'write'
  readonly token: Secret
}

/** An answer that is no success, or none at all, taken out of the client library's error, which also holds the token. */
export interface Refusal {
  /** Absent: there was no answer. */
  readonly status?: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Readonly<Record<string, unknown>>
  /** A system's or library's word for what happened without an answer: ECONNREFUSED. */
  readonly word: string
}

/** Words of connections that never came to be, so nothing was sent. */
const UNSENT = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ConnectionRefused', 'FailedToOpenSocket']

export const recordOf = (value: unknown): Readonly<Record<string, unknown>> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.fromEntries(Object.entries(value)) : undefined

/** Undefined for anything that is not an error of the client library. */
export function refusalIn(error: unknown): Refusal | undefined {
  if (!(error instanceof Error) || !('isAxiosError' in error)) return undefined
  const response = recordOf('response' in error ? error.response : undefined)
  const headers = Object.entries(recordOf(response?.headers) ?? {}).flatMap(([name, value]) =>
    typeof value === 'string' ? [[name.toLowerCase(), value] as const] : [],
  )
  return {
    ...(typeof response?.status === 'number' ? { status: response.status } : {}),
    headers: Object.fromEntries(headers),
    body: recordOf(response?.data) ?? {},
    word: 'code' in error && typeof error.code === 'string' ? error.code : 'no answer',
  }
}

const redact = createRedactor(knownSecrets)

/** Without control characters, direction marks and secrets in any spelling, and not longer than a paragraph. */
export const cleanText = (text: string, token: Secret): string =>
  redact(
    text
      .replaceAll(token.reveal(), token.toString())
      .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+/g, ' '),
  )
    .trim()
    .replace(/\.+$/, '')
    .slice(0, 300)

const NEW_TOKEN = 'Make one: cloud.digitalocean.com → API → Tokens → Generate New Token, with full access'
const RUN_AGAIN = 'Run the same command again; if it stays so, see https://status.digitalocean.com.'
const LOOKS_FIRST = 'Run the same command again: it looks first, and continues with what is there.'

interface Meaning {
  readonly code: ErrorCode
  readonly cause: string
  readonly hint?: string
}

/** The error to throw. `vendorCode` is the vendor's id, or `unreachable` and `silent` for what brought no answer. */
export function errorOf(failed: Failed, refusal: Refusal): LandfallError {
  const said = typeof refusal.body.message === 'string' ? cleanText(refusal.body.message, failed.token) : ''
  const { code, cause, hint } = meaningOf(failed, refusal, said)
  const requestId = refusal.body.request_id ?? refusal.headers['x-request-id']
  return new LandfallError(code, `Could not ${failed.what}: ${cause}.`, {
    ...(hint === undefined ? {} : { hint }),
    ...(typeof requestId === 'string' ? { correlationId: cleanText(requestId, failed.token) } : {}),
    ...(refusal.status === undefined ? {} : { status: refusal.status }),
    vendorCode: vendorCodeOf(refusal),
  })
}

const vendorCodeOf = ({ status, body, word }: Refusal): string => {
  if (status === undefined) return UNSENT.includes(word) ? 'unreachable' : 'silent'
  return typeof body.id === 'string' && body.id !== '' ? body.id : `http_${status}`
}

function meaningOf({ effect, token }: Failed, { status, word }: Refusal, said: string): Meaning {
  const quoted = said === '' ? '' : ` ("${said}")`
  switch (status) {
    case undefined:
      return UNSENT.includes(word)
        ? {
            code: 'network',
            cause: `DigitalOcean's API could not be reached (${cleanText(word, token)})`,
            hint: 'Check the network and DIGITALOCEAN_ENDPOINT, then run the same command again.',
          }
        : {
            code: effect === 'read' ? 'network' : 'ambiguous',
            cause: `DigitalOcean's API did not answer (${cleanText(word, token)})`,
            hint: effect === 'read' ? RUN_AGAIN : LOOKS_FIRST,
          }
    case 401:
      return {
        code: 'token_invalid',
        cause: `DigitalOcean does not accept the token ${token.label}`,
        hint: `${NEW_TOKEN}, and set ${token.label} to it.`,
      }
    case 403:
      return { code: 'forbidden', cause: `the token ${token.label} lacks the right to do it${quoted}`, hint: `${NEW_TOKEN}.` }
    case 404:
      return { code: 'not_found', cause: 'DigitalOcean knows no such object', hint: LOOKS_FIRST }
    case 409:
      return {
        code: 'name_taken',
        cause: `something in the account already has its name${quoted}`,
        hint: 'Rename or delete the other object at DigitalOcean, or choose another name.',
      }
    case 429:
      return {
        code: 'rate_limited',
        cause: "the account's limit of requests is used up",
        hint: 'Wait a few minutes, then run the same command again.',
      }
    default:
      if (status >= 500)
        return {
          code: effect === 'read' ? 'network' : 'ambiguous',
          cause: `DigitalOcean answered HTTP ${status}${quoted}`,
          hint: effect === 'read' ? RUN_AGAIN : LOOKS_FIRST,
        }
      return { code: 'vendor', cause: `DigitalOcean refuses the request (HTTP ${status})${quoted}` }
  }
}
