/** The vendor's refusals in our words. The vendor's code stays on the error, so that the adapter can branch on it. */

import { type ErrorCode, LandfallError } from '../../errors.ts'
import { knownSecrets, type Secret } from '../../secret.ts'
import { createRedactor } from '../../ui/redact.ts'
import type { TransportResponse } from './transport.ts'
import { recordOf } from './wire.ts'

/** What an error needs to know about its request. */
export interface Failed {
  /** What was tried, to follow "Could not": "create server prod". */
  readonly what: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly token: Secret
}

/** A refusal by the vendor, from an answer that is no success. Bodies that are not JSON are judged by their status alone. */
export function refusalOf(failed: Failed, response: TransportResponse): LandfallError {
  const error = recordOf(recordOf(parseJson(response.text))?.error)
  const vendorCode = typeof error?.code === 'string' && error.code !== '' ? error.code : `http_${response.status}`
  const meaning = meaningOf({
    vendorCode,
    status: response.status,
    reading: failed.method === 'GET',
    said: typeof error?.message === 'string' ? cleanText(error.message, failed.token) : '',
    details: recordOf(error?.details) ?? {},
    token: failed.token,
  })
  return new LandfallError(meaning.code, `Could not ${failed.what}: ${meaning.cause}.`, {
    ...(meaning.hint === undefined ? {} : { hint: meaning.hint }),
    ...(response.headers['x-correlation-id'] === undefined
      ? {}
      : { correlationId: cleanText(response.headers['x-correlation-id'], failed.token) }),
    status: response.status,
    vendorCode,
  })
}

/** No answer, or one that cannot be used. `cause` is a part of a sentence. */
export function silenceOf(failed: Failed, vendorCode: string, cause: string, response?: TransportResponse): LandfallError {
  const unsent = vendorCode === 'unreachable' || vendorCode === 'untrusted'
  const correlationId = response?.headers['x-correlation-id']
  return new LandfallError(
    unsent || failed.method === 'GET' ? 'network' : 'ambiguous',
    `Could not ${failed.what}: Hetzner's API ${unsent ? 'could not be reached' : 'did not answer as it should'}: ${cause}.`,
    {
      hint: unsent ? CHECK_NETWORK : failed.method === 'GET' ? RUN_AGAIN : LOOKS_FIRST,
      vendorCode,
      ...(response === undefined ? {} : { status: response.status }),
      ...(correlationId === undefined ? {} : { correlationId: cleanText(correlationId, failed.token) }),
    },
  )
}

/** An action that ended in an error, or vanished. */
export function actionFailureOf(
  what: string,
  action: { id: string; command: string; code: string; said: string },
  token: Secret,
): LandfallError {
  const meaning = meaningOf({ vendorCode: action.code, reading: false, said: cleanText(action.said, token), details: {}, token })
  return new LandfallError(
    meaning.code,
    `Could not ${what}: Hetzner's action ${cleanText(action.command, token)} (${action.id}) failed: ${meaning.cause}.`,
    { ...(meaning.hint === undefined ? {} : { hint: meaning.hint }), vendorCode: action.code },
  )
}

const redact = createRedactor(knownSecrets)

/** Without control characters, direction marks and secrets in any spelling, and not longer than a paragraph. */
export function cleanText(text: string, token: Secret): string {
  const plain = text
    .replaceAll(token.reveal(), token.toString())
    .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+/g, ' ')
  return redact(plain).trim().replace(/\.+$/, '').slice(0, 300)
}

/** Undefined for what is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const RUN_AGAIN = 'Run the same command again; if it stays so, see https://status.hetzner.com.'
const LOOKS_FIRST = 'Run the same command again: it looks first, and continues with what is there.'
const CHECK_NETWORK = 'Check the network and HCLOUD_ENDPOINT, then run the same command again.'
const NEW_TOKEN = 'Make one: Hetzner Console → project → Security → API tokens → Generate API token, permission "Read & Write"'

interface Refusal {
  readonly vendorCode: string
  readonly status?: number
  readonly reading: boolean
  readonly said: string
  readonly details: Readonly<Record<string, unknown>>
  readonly token: Secret
}

interface Meaning {
  readonly code: ErrorCode
  /** Part of a sentence, without its full stop. */
  readonly cause: string
  readonly hint?: string
}

const OUT_OF_STOCK = (refusal: Refusal): Meaning => ({
  code: 'out_of_stock',
  cause: `Hetzner has no room for it there at the moment${quoted(refusal)}`,
  hint: 'Choose another server type or location in the configuration, or try again later.',
})

const MEANINGS: Readonly<Record<string, (refusal: Refusal) => Meaning>> = {
  unauthorized: ({ token }) => ({
    code: 'token_invalid',
    cause: `Hetzner does not accept the token ${token.label}`,
    hint: `${NEW_TOKEN}, and set ${token.label} to it.`,
  }),
  token_readonly: ({ token }) => ({
    code: 'token_readonly',
    cause: `the token ${token.label} may only read`,
    hint: `${NEW_TOKEN}, and set ${token.label} to it.`,
  }),
  forbidden: ({ token, ...refusal }) => ({
    code: 'forbidden',
    cause: `the token ${token.label} lacks the right to do it${quoted(refusal)}`,
    hint: `${NEW_TOKEN}, in the project that the estate lives in.`,
  }),
  maintenance: () => ({
    code: 'vendor',
    cause: 'Hetzner is in maintenance',
    hint: 'Try again later; see https://status.hetzner.com.',
  }),
  resource_limit_exceeded: refusal => ({
    code: 'limit',
    cause: `it would exceed the account's limit${limitsOf(refusal.details)}${quoted(refusal)}`,
    hint: 'Delete what is no longer needed, or ask for more: Hetzner Console → Limits → Request change.',
  }),
  not_found: () => ({
    code: 'not_found',
    cause: 'Hetzner knows no such object',
    hint: 'Run the same command again: it looks first.',
  }),
  uniqueness_error: ({ details }) => ({
    code: 'name_taken',
    cause: `something in the project already has its ${
      fieldsOf(details)
        .map(field => field.name)
        .join(', ') || 'name'
    }`,
    hint: 'Rename or delete the other object in the Hetzner Console, or choose another name.',
  }),
  resource_unavailable: OUT_OF_STOCK,
  placement_error: OUT_OF_STOCK,
  protected: () => ({
    code: 'refused',
    cause: 'it is protected against deletion',
    hint: 'Lift the protection in the Hetzner Console (the object → Disable protection), then run the same command again.',
  }),
  locked: () => ({
    code: 'vendor',
    cause: 'another action is still working on it',
    hint: 'Wait for it to end (Hetzner Console → the object → Activities), then run the same command again.',
  }),
  rate_limit_exceeded: () => ({
    // The vendor's own text holds a part of the token.
    code: 'rate_limited',
    cause: "the project's limit of requests per hour is used up",
    hint: 'Wait a few minutes, then run the same command again; other tools with tokens of this project share the limit.',
  }),
  vanished: () => ({ code: 'vendor', cause: 'Hetzner no longer knows it', hint: LOOKS_FIRST }),
  invalid_input: refusal => ({ code: 'vendor', cause: `Hetzner refuses the request${quoted(refusal)}${fieldLines(refusal)}` }),
  deprecated_api_endpoint: ({ details, token }) => ({
    code: 'vendor',
    cause: `Hetzner no longer offers what Landfall asked for${typeof details.announcement === 'string' ? `, see ${cleanText(details.announcement, token)}` : ''}`,
    hint: 'Upgrade Landfall.',
  }),
}

function meaningOf(refusal: Refusal): Meaning {
  const known = Object.hasOwn(MEANINGS, refusal.vendorCode) ? MEANINGS[refusal.vendorCode] : undefined
  if (known) return known(refusal)
  if (refusal.status === 401) return meaningOf({ ...refusal, vendorCode: 'unauthorized' })
  if (refusal.status === 403) return meaningOf({ ...refusal, vendorCode: 'forbidden' })
  if (refusal.status === 429) return meaningOf({ ...refusal, vendorCode: 'rate_limit_exceeded' })
  const gateway = refusal.status === 502 || refusal.status === 504
  return {
    code: gateway ? (refusal.reading ? 'network' : 'ambiguous') : 'vendor',
    cause: refusal.status === undefined ? saidOf(refusal) : `Hetzner answered ${saidOf(refusal)}`,
    hint: gateway && !refusal.reading ? LOOKS_FIRST : RUN_AGAIN,
  }
}

const saidOf = (refusal: Refusal): string => {
  const status = refusal.status === undefined ? '' : `HTTP ${refusal.status}`
  const code = refusal.vendorCode.startsWith('http_') ? '' : refusal.vendorCode
  return [[status, code].filter(Boolean).join(' '), refusal.said].filter(Boolean).join(': ')
}

const quoted = (refusal: { readonly said: string }): string => (refusal.said === '' ? '' : ` ("${refusal.said}")`)

function limitsOf(details: Readonly<Record<string, unknown>>): string {
  const limits = Array.isArray(details.limits) ? details.limits : []
  const names = limits.map(limit => recordOf(limit)?.name).filter(name => typeof name === 'string')
  return names.length === 0 ? '' : ` for ${names.join(', ')}`
}

function fieldsOf(details: Readonly<Record<string, unknown>>): { name: string; messages: string[] }[] {
  const fields = Array.isArray(details.fields) ? details.fields : []
  return fields.flatMap(entry => {
    const field = recordOf(entry)
    if (typeof field?.name !== 'string') return []
    const messages = Array.isArray(field.messages) ? field.messages.filter(message => typeof message === 'string') : []
    return [{ name: field.name, messages }]
  })
}

const fieldLines = ({ details, token }: Refusal): string =>
  fieldsOf(details)
    .map(field => `\n  ${cleanText(field.name, token)}: ${cleanText(field.messages.join('; '), token)}`)
    .join('')
