/** The registry's side of an image: whether it is there, and under which digest (OCI Distribution Specification 1.1, "Pulling manifests"). */

import { retry } from '../../engine/retry.ts'
import { type ErrorCode, hasCode, isServerFault, LandfallError } from '../../errors.ts'
import { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import type { RegistryLogin } from '../ports/registry.ts'

const TIMEOUT_MS = 20_000
const POLICY = { maxRetries: 3, baseMs: 300, capMs: 3_000 }
const MANIFESTS = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ')
const CODES: Readonly<Record<number, ErrorCode>> = { 401: 'token_invalid', 403: 'forbidden', 429: 'rate_limited' }

/** As Docker has it: plain HTTP on this machine only. */
const baseUrlOf = (host: string): string =>
  `${/^(?:localhost|127\.\d+\.\d+\.\d+)(?::\d+)?$/.test(host) ? 'http' : 'https'}://${host}`

const partsOf = (reference: string): { repository: string; tag: string } => {
  const path = reference.slice(reference.indexOf('/') + 1)
  const at = path.lastIndexOf(':')
  return { repository: path.slice(0, at), tag: path.slice(at + 1) }
}

/** `realm="https://…",service="…"` of a challenge (RFC 6750, Docker's token authentication). */
const challengeOf = (header: string): Readonly<Record<string, string>> =>
  Object.fromEntries([...header.matchAll(/([a-z_]+)="([^"]*)"/gi)].map(([, name = '', value = '']) => [name, value]))

export function createRegistry(login: RegistryLogin, context: ProviderContext) {
  const basic = `Basic ${Buffer.from(`${login.username}:${login.password.reveal()}`).toString('base64')}`
  const send = async (url: string, method: 'GET' | 'HEAD', headers: Readonly<Record<string, string>>): Promise<Response> => {
    context.meter.count('registry', 'read')
    const deadline = AbortSignal.timeout(TIMEOUT_MS)
    try {
      return await fetch(url, { method, headers, redirect: 'manual', signal: AbortSignal.any([deadline, context.signal]) })
    } catch {
      // What a fetch error holds is not ours to vouch for: it may carry the request's headers.
      if (context.signal.aborted) throw new LandfallError('cancelled', 'Interrupted.')
      throw new LandfallError(deadline.aborted ? 'timeout' : 'network', `The registry ${login.url} did not answer.`, {
        hint: `Try it: curl -sI ${baseUrlOf(login.url)}/v2/`,
      })
    }
  }

  /** A token for reading one repository, where the registry gives them out elsewhere. */
  const exchange = async (header: string, repository: string): Promise<string> => {
    const { realm = '', service = '' } = challengeOf(header)
    if (!URL.canParse(realm) || (new URL(realm).protocol !== 'https:' && !baseUrlOf(login.url).startsWith('http:')))
      throw new LandfallError('vendor', `The registry ${login.url} asks for the password at an address without TLS.`)
    const url = new URL(realm)
    url.searchParams.set('service', service)
    url.searchParams.set('scope', `repository:${repository}:pull`)
    const answer = await send(url.href, 'GET', { authorization: basic })
    if (!answer.ok) throw refusal(login, answer.status)
    const row = (await answer.json()) as { token?: string; access_token?: string }
    // A secret, so that no report shows it.
    return `Bearer ${new Secret('registry token', row.token ?? row.access_token ?? '').reveal()}`
  }

  const findDigest = async (reference: string): Promise<string | undefined> => {
    const { repository, tag } = partsOf(reference)
    const url = `${baseUrlOf(login.url)}/v2/${repository}/manifests/${tag}`
    const ask = (authorization: string) => send(url, 'HEAD', { accept: MANIFESTS, authorization })
    let answer = await ask(basic)
    const header = answer.headers.get('www-authenticate') ?? ''
    if (answer.status === 401 && /^bearer /i.test(header)) answer = await ask(await exchange(header, repository))
    if (answer.status === 404) return undefined
    if (!answer.ok) throw refusal(login, answer.status)
    const digest = answer.headers.get('docker-content-digest') ?? ''
    if (!/^sha256:[0-9a-f]{64}$/.test(digest))
      throw new LandfallError('vendor', `The registry ${login.url} named no digest for ${repository}:${tag}.`)
    return digest
  }
  return {
    findDigest: (reference: string) =>
      retry(() => findDigest(reference), {
        clock: context.clock,
        signal: context.signal,
        random: context.random,
        policy: POLICY,
        mayRetry: error => hasCode(error, 'network', 'rate_limited') || isServerFault(error),
      }),
  }
}

const refusal = (login: RegistryLogin, status: number): LandfallError =>
  new LandfallError(CODES[status] ?? 'vendor', `The registry ${login.url} answered ${login.username} with status ${status}.`, {
    status,
    ...(status === 401 || status === 403
      ? { hint: `See whether the password may push there: ${login.password} is what config.json names.` }
      : {}),
  })
