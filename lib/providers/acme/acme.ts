/**
 * A small client for ACME. The published one (acme-client 5.4) works under Bun, yet it waits out rate limits by itself for as long as the
 * authority says, can not be interrupted, and gives problems as text alone; here they are codes.
 */

import { backoffMs, type RetryPolicy } from '../../engine/retry.ts'
import { type ErrorCode, hasCode, LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import type { Acme, AcmeChallenge, AcmeOrder } from '../ports/acme.ts'
import { createSigner, type Signer } from './jws.ts'
import { requestFor } from './keys.ts'

export const LETSENCRYPT_DIRECTORY = 'https://acme-v02.api.letsencrypt.org/directory'

export interface AcmeOptions {
  /** ACME_DIRECTORY_URL; Let's Encrypt when absent. */
  readonly directory?: string
  /** PKCS #8 PEM, ECDSA P-256; asked for with the first signed request, so that looking makes none. */
  readonly accountKey: () => Promise<Secret>
  /** Trusted besides the public roots. */
  readonly caPem?: string
  readonly context: ProviderContext
  readonly timeoutMs?: number
}

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly json: Readonly<Record<string, unknown>>
}

const PROBLEM = 'urn:ietf:params:acme:error:'
const NONCE_TRIES = 8
const POLICY: RetryPolicy = { maxRetries: 3, baseMs: 1_000, capMs: 8_000 }
const CODES: Readonly<Record<string, ErrorCode>> = {
  rateLimited: 'rate_limited',
  caa: 'forbidden',
  rejectedIdentifier: 'forbidden',
  unauthorized: 'forbidden',
  externalAccountRequired: 'forbidden',
  userActionRequired: 'forbidden',
}

/** Nothing is sent before the first call. */
export function createAcme(options: AcmeOptions): Acme {
  const { context } = options
  const directoryUrl = checkedDirectory(options.directory ?? LETSENCRYPT_DIRECTORY)
  let signing: Promise<Signer> | undefined
  const signer = () => {
    signing ??= options.accountKey().then(createSigner)
    return signing
  }
  const nonces: string[] = []
  let directory: Promise<Readonly<Record<string, unknown>>> | undefined
  let account: string | undefined

  const exchange = async (method: 'GET' | 'HEAD' | 'POST', url: string, body?: string): Promise<Answer> => {
    for (let attempt = 1; ; attempt++) {
      const deadline = AbortSignal.timeout(options.timeoutMs ?? 30_000)
      try {
        const response = await fetch(url, {
          method,
          headers: { 'user-agent': 'landfall', ...(body === undefined ? {} : { 'content-type': 'application/jose+json' }) },
          ...(body === undefined ? {} : { body }),
          ...(options.caPem === undefined ? {} : { tls: { ca: options.caPem } }),
          redirect: 'error',
          signal: AbortSignal.any([deadline, context.signal]),
        })
        const nonce = response.headers.get('replay-nonce')
        if (nonce !== null) nonces.push(nonce)
        const text = await response.text()
        return { status: response.status, headers: response.headers, text, json: objectIn(text) }
      } catch (error) {
        if (context.signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
        if (attempt > POLICY.maxRetries)
          throw new LandfallError(
            deadline.aborted ? 'timeout' : 'network',
            `The certificate authority at ${new URL(url).host} could not be reached (${nameOf(error)}).`,
            { hint: 'Run the same command again: it goes on with the same order.' },
          )
        // A signed request may be used once: the caller signs anew, which a fresh nonce makes possible.
        if (body !== undefined) throw new Unanswered(error)
        await context.clock.sleep(backoffMs(POLICY, attempt, context.random), context.signal)
      }
    }
  }

  const readDirectory = () => {
    directory ??= exchange('GET', directoryUrl).then(answer => {
      if (answer.status !== 200) throw problemOf(answer, 'its directory')
      return answer.json
    })
    directory.catch(() => {
      directory = undefined
    })
    return directory
  }

  const resource = async (name: string): Promise<string> => {
    const url = (await readDirectory())[name]
    if (typeof url === 'string') return url
    throw new LandfallError('vendor', `The certificate authority's directory has no "${name}".`, {
      hint: 'ACME_DIRECTORY_URL must be the address of an ACME directory.',
    })
  }

  const nonce = async (): Promise<string> => {
    const kept = nonces.pop()
    if (kept !== undefined) return kept
    await exchange('HEAD', await resource('newNonce'))
    return nonces.pop() ?? ''
  }

  /** `payload` undefined: POST-as-GET. All that is repeated here is safe to repeat: an order is found again, a challenge is answered once. */
  const post = async (url: string, payload: unknown, what: string, by: 'account' | 'key' = 'account'): Promise<Answer> => {
    const reads = payload === undefined
    if (by === 'account' && account === undefined) throw new Error('bug: openAccount comes first')
    for (let attempt = 1; ; attempt++) {
      context.meter.count('acme', reads ? 'read' : 'write')
      let answer: Answer | undefined
      try {
        const signedBy = by === 'key' || account === undefined ? 'key' : { account }
        const signed = (await signer()).sign(url, await nonce(), payload, signedBy)
        if (!reads) await context.beforeWrite({ provider: 'acme', method: 'POST', path: new URL(url).pathname })
        answer = await exchange('POST', url, signed)
      } catch (error) {
        if (!(error instanceof Unanswered)) throw error
      }
      if (answer !== undefined && answer.status < 400) return answer
      const isNonce = answer !== undefined && kindOf(answer) === 'badNonce'
      const isOverloaded = answer === undefined || (answer.status >= 500 && answer.status <= 599)
      if (isNonce && attempt < NONCE_TRIES) continue
      if (!isOverloaded || attempt > POLICY.maxRetries) throw problemOf(answer, what)
      await context.clock.sleep(backoffMs(POLICY, attempt, context.random), context.signal)
    }
  }

  const toOrder = async (url: string, json: Readonly<Record<string, unknown>>): Promise<AcmeOrder> => {
    const state = ORDER_STATES.find(each => each === json.status)
    const identifiers = Array.isArray(json.identifiers) ? json.identifiers : []
    const urls = Array.isArray(json.authorizations) ? json.authorizations.filter(each => typeof each === 'string') : []
    if (state === undefined)
      throw new LandfallError('network', 'The certificate authority answered with an order of unknown form.')
    const challenges = state === 'pending' || state === 'invalid' ? await Promise.all(urls.map(readChallenge)) : []
    const why = sentenceOf(json.error) ?? challenges.find(each => each.why !== undefined)?.why
    return {
      url,
      state,
      names: identifiers.flatMap(each => (isObject(each) && typeof each.value === 'string' ? [each.value] : [])).sort(),
      challenges,
      ...(why === undefined ? {} : { why }),
    }
  }

  const readChallenge = async (url: string): Promise<AcmeChallenge> => {
    const { json } = await post(url, undefined, 'an authorization')
    const name = isObject(json.identifier) && typeof json.identifier.value === 'string' ? json.identifier.value : ''
    const all = Array.isArray(json.challenges) ? json.challenges.filter(isObject) : []
    const dns = all.find(each => each.type === 'dns-01')
    if (dns === undefined || typeof dns.token !== 'string' || typeof dns.url !== 'string')
      throw new LandfallError('vendor', `The certificate authority offers no proof by DNS for ${name}.`)
    const why = sentenceOf(dns.error)
    return {
      name,
      recordName: `_acme-challenge.${name}`,
      recordValue: (await signer()).proofOf(dns.token),
      url: dns.url,
      // An authorization from before stays valid for weeks and needs no proof again.
      state: json.status === 'valid' ? 'valid' : (CHALLENGE_STATES.find(each => each === dns.status) ?? 'pending'),
      ...(why === undefined ? {} : { why }),
    }
  }

  return {
    directory: directoryUrl,

    async readIdentities() {
      const meta = (await readDirectory()).meta
      const names = isObject(meta) && Array.isArray(meta.caaIdentities) ? meta.caaIdentities : []
      return names.filter(each => typeof each === 'string')
    },

    async openAccount(email) {
      const body = { termsOfServiceAgreed: true, contact: [`mailto:${email}`] }
      const answer = await post(await resource('newAccount'), body, 'an account', 'key')
      account = answer.headers.get('location') ?? undefined
      if (account === undefined)
        throw new LandfallError('network', 'The certificate authority made an account without an address.')
      return { url: account }
    },

    async createOrder(names) {
      const body = { identifiers: names.map(value => ({ type: 'dns', value })) }
      const answer = await post(await resource('newOrder'), body, `a certificate for ${names.join(', ')}`)
      const url = answer.headers.get('location')
      if (url === null) throw new LandfallError('network', 'The certificate authority took an order without giving its address.')
      return toOrder(url, answer.json)
    },

    async findOrder(url) {
      try {
        return await toOrder(url, (await post(url, undefined, 'the order')).json)
      } catch (error) {
        if (hasCode(error, 'not_found', 'forbidden')) return undefined
        throw error
      }
    },

    async answerChallenge({ url, name }) {
      await post(url, {}, `the proof for ${name}`)
    },

    async finalizeOrder(order, privateKey) {
      const finalize = (await post(order.url, undefined, 'the order')).json.finalize
      if (typeof finalize !== 'string') throw new LandfallError('network', 'The order has no place to hand the request in.')
      await post(finalize, { csr: await requestFor(order.names, privateKey) }, `the certificate for ${order.names.join(', ')}`)
    },

    async downloadCertificate(order) {
      const url = (await post(order.url, undefined, 'the order')).json.certificate
      if (typeof url !== 'string') throw new LandfallError('network', 'The order is done, but names no certificate.')
      const { text } = await post(url, undefined, 'the certificate')
      if (text.includes('-----BEGIN CERTIFICATE-----')) return text
      throw new LandfallError('network', "The certificate authority's answer is no certificate.")
    },
  }
}

const ORDER_STATES = ['pending', 'ready', 'processing', 'valid', 'invalid'] as const
const CHALLENGE_STATES = ['pending', 'processing', 'valid', 'invalid'] as const

/** A signed request that got no answer. */
class Unanswered extends Error {
  constructor(cause: unknown) {
    super('no answer', { cause })
  }
}

function problemOf(answer: Answer | undefined, what: string): LandfallError {
  if (answer === undefined)
    return new LandfallError('network', `The certificate authority gave no answer when asked for ${what}.`, {
      hint: 'Run the same command again: it goes on with the same order.',
    })
  const kind = kindOf(answer)
  const said = sentenceOf(answer.json)
  const code = CODES[kind] ?? (answer.status === 404 ? 'not_found' : answer.status === 429 ? 'rate_limited' : 'vendor')
  const retryAfter = answer.headers.get('retry-after')
  return new LandfallError(code, `The certificate authority refused ${what}${said ? `: ${said}` : ` (${answer.status})`}.`, {
    status: answer.status,
    ...(kind === '' ? {} : { vendorCode: kind }),
    ...(code === 'rate_limited'
      ? { hint: `Nothing is asked again by itself.${retryAfter ? ` It says to wait until: ${clean(retryAfter)}.` : ''}` }
      : {}),
  })
}

const kindOf = ({ json }: Answer): string =>
  typeof json.type === 'string' && json.type.startsWith(PROBLEM) ? clean(json.type.slice(PROBLEM.length)) : ''

/** A problem document's own sentence, without control characters. */
const sentenceOf = (problem: unknown): string | undefined =>
  isObject(problem) && typeof problem.detail === 'string' ? clean(problem.detail).replace(/\.$/, '') : undefined

const clean = (text: string): string =>
  text
    .replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
    .trim()
    .slice(0, 300)

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const objectIn = (text: string): Readonly<Record<string, unknown>> => {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : {}
  } catch {
    // A certificate, or a gateway's page: the status says the rest.
    return {}
  }
}

const nameOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? clean(error.code)
    : error instanceof Error
      ? error.name
      : 'unknown'

/** The account's key signs every request, so a plain connection leaks no secret; it is still let through to this machine alone. */
function checkedDirectory(text: string): string {
  const url = URL.parse(text)
  const loopback = url !== null && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)
  if (url === null || (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback)))
    throw new LandfallError('config', 'ACME_DIRECTORY_URL must be an https:// address.', {
      hint: `For example: ${LETSENCRYPT_DIRECTORY}`,
    })
  return url.href
}
