/** One Dokploy panel behind our port: is it up, is it ours, under which name is it served. */

import { type RetryPolicy, retry } from '../../engine/retry.ts'
import { hasCode, LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { Dokploy, PanelSettings } from '../ports/dokploy.ts'
import { installCertificate, listCertificates } from './certificates.ts'
import { claimPanel } from './claim.ts'
import {
  createClient,
  type DokployContext,
  type Exchange,
  errorOf,
  type FetchLike,
  isObject,
  isUnknownOutcome,
} from './client.ts'

export interface DokployOptions {
  /** A tunnel's loopback end, or https. Without a trailing path. */
  readonly baseUrl: string
  readonly context: DokployContext
  readonly fetch?: FetchLike
  /** How long Traefik is given to begin its restart before its health is asked; the panel answers "reloaded" at once, whatever happens. */
  readonly reloadSettleMs?: number
}

const HEALTH_TIMEOUT_MS = 5_000
const TRAEFIK_TIMEOUT_MS = 60_000
const SETTING_TRIES = 3
const POLICY: RetryPolicy = { maxRetries: 4, baseMs: 1_000, capMs: 10_000 }

/** Nothing is sent before the first call. @throws LandfallError refused, when `baseUrl` would carry the key in clear across the network */
export function createDokploy(options: DokployOptions): Dokploy {
  const { context } = options
  const client = createClient(options.baseUrl, context, options.fetch ?? ((url, init) => fetch(url, init)))
  const settleMs = options.reloadSettleMs ?? 3_000

  const get = (path: string, apiKey: Secret): Promise<unknown> =>
    repeated(context, () => client.call({ method: 'GET', path, as: { apiKey } }))

  const hasAdmin = (): Promise<boolean> =>
    repeated(context, async () => {
      const request = { method: 'GET', path: '/' } as const
      const answer = await client.exchange(request)
      // There is no JSON for it: the start page sends everybody to /register while there is no admin (facts/dokploy 3).
      if (answer.status >= 300 && answer.status < 400) {
        if (pathOf(answer.headers.get('location')) === '/register') return false
      } else if (answer.status >= 200 && answer.status < 300) return true
      throw errorOf(request, answer)
    })

  const readPanel = async (apiKey: Secret): Promise<PanelSettings> =>
    fromWireSettings(await get('/api/settings.getWebServerSettings', apiKey))

  /** Sets a value, again after a lost answer: the same value twice is the same. */
  const set = async (request: Exchange): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      try {
        await client.call(request)
        return
      } catch (error) {
        if (attempt >= SETTING_TRIES || !hasCode(error, 'network', 'timeout')) throw error
        const waitMs = POLICY.baseMs * attempt
        context.log(`${error.message} Setting it again in ${waitMs / 1000} s.`)
        await context.clock.sleep(waitMs, context.signal)
      }
    }
  }

  const assign = (apiKey: Secret, body: Record<string, unknown>) =>
    set({ method: 'POST', path: '/api/settings.assignDomainServer', as: { apiKey }, body })

  const reloadTraefik = async (apiKey: Secret): Promise<void> => {
    await set({ method: 'POST', path: '/api/settings.reloadTraefik', as: { apiKey }, body: {} })
    await context.clock.sleep(settleMs, context.signal)
    const endsAtMs = context.clock.monotonicMs() + TRAEFIK_TIMEOUT_MS
    for (;;) {
      const health = await get('/api/settings.checkInfrastructureHealth', apiKey)
      if (isObject(health) && isObject(health.traefik) && health.traefik.status === 'healthy') return
      if (context.clock.monotonicMs() >= endsAtMs)
        throw new LandfallError('unhealthy', `Traefik did not come back within ${TRAEFIK_TIMEOUT_MS / 1000} s of its reload.`, {
          hint: 'On the server, look at: docker logs dokploy-traefik.',
        })
      await context.clock.sleep(POLICY.baseMs, context.signal)
    }
  }

  return {
    async health() {
      try {
        const { status, json } = await client.exchange({
          method: 'GET',
          path: '/api/trpc/settings.health',
          timeoutMs: HEALTH_TIMEOUT_MS,
        })
        return status === 200 && saysOk(json) ? 'up' : 'starting'
      } catch (error) {
        // Connected, but no answer yet: the process is there.
        return hasCode(error, 'timeout') ? 'starting' : 'down'
      }
    },

    hasAdmin,

    claim: admin => claimPanel(client, context, admin, hasAdmin),

    async checkKey(apiKey) {
      try {
        await get('/api/settings.getDokployVersion', apiKey)
        return 'valid'
      } catch (error) {
        if (hasCode(error, 'token_invalid')) return 'invalid'
        throw error
      }
    },

    async version(apiKey) {
      const version = await get('/api/settings.getDokployVersion', apiKey)
      if (typeof version === 'string' && version !== '') return version
      throw new LandfallError('network', "Dokploy's answer to /api/settings.getDokployVersion is no version.")
    },

    readPanel,

    async assignPanelHost(apiKey, { host, letsEncryptEmail }) {
      const agrees = (panel: PanelSettings) => panel.host === host && panel.https && panel.letsEncryptEmail === letsEncryptEmail
      const before = await readPanel(apiKey)
      if (agrees(before)) return
      // First the e-mail, without HTTPS, and a reload: Traefik orders a certificate the moment it sees the HTTPS route, and an
      // ACME account keeps the placeholder e-mail that it was made with (facts/reliability C.3). HTTPS is what marks the whole as
      // done, so a run that died in between does it again. Once it is done, another host needs no reload.
      if (!before.https || before.letsEncryptEmail !== letsEncryptEmail) {
        await assign(apiKey, { host, https: false, certificateType: 'none', letsEncryptEmail })
        await reloadTraefik(apiKey)
      }
      await assign(apiKey, { host, https: true, certificateType: 'letsencrypt', letsEncryptEmail })
      if (!agrees(await readPanel(apiKey)))
        throw new LandfallError('unverified', `Dokploy took the panel's host name ${host}, but does not show it.`, {
          hint: 'Look at Settings → Web Server in the panel.',
        })
    },

    listCertificates: apiKey => listCertificates(get, apiKey),

    installCertificate: (apiKey, input) => installCertificate(client, get, apiKey, input),

    async setServerIp(apiKey, ip) {
      if ((await readPanel(apiKey)).serverIp === ip) return
      await set({ method: 'POST', path: '/api/settings.updateServerIp', as: { apiKey }, body: { serverIp: ip } })
      if ((await readPanel(apiKey)).serverIp !== ip)
        throw new LandfallError('unverified', `Dokploy took the server address ${ip}, but does not show it.`, {
          hint: 'Look at Settings → Web Server in the panel.',
        })
    },
  }
}

/** For reads: repeated while the panel is unreachable, overloaded or failing. */
const repeated = <T>(context: DokployContext, read: () => Promise<T>): Promise<T> =>
  retry(read, {
    clock: context.clock,
    signal: context.signal,
    random: context.random,
    policy: POLICY,
    mayRetry: error => isUnknownOutcome(error) || hasCode(error, 'rate_limited'),
    onWait: ({ waitMs, error }) =>
      context.log(`${error instanceof Error ? error.message : 'Dokploy failed.'} Trying again in ${Math.ceil(waitMs / 1000)} s.`),
  })

const pathOf = (location: string | null): string | undefined => {
  if (location === null) return undefined
  try {
    return new URL(location, 'http://panel.invalid').pathname
  } catch {
    // Not a URL: certainly not /register.
    return undefined
  }
}

/** `{"result":{"data":{"json":{"status":"ok"}}}}`: the process answers, and its database did. */
const saysOk = (json: unknown): boolean => {
  const result = isObject(json) ? json.result : undefined
  const data = isObject(result) ? result.data : undefined
  const inner = isObject(data) ? data.json : undefined
  return isObject(inner) && inner.status === 'ok'
}

/** Four fields of the row, and no more: the same answer holds a private key. */
function fromWireSettings(wire: unknown): PanelSettings {
  if (!isObject(wire)) throw new LandfallError('network', "Dokploy's answer to /api/settings.getWebServerSettings is unusable.")
  const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)
  const host = text(wire.host)
  const letsEncryptEmail = text(wire.letsEncryptEmail)
  const serverIp = text(wire.serverIp)
  return {
    https: wire.https === true,
    ...(host === undefined ? {} : { host }),
    ...(letsEncryptEmail === undefined ? {} : { letsEncryptEmail }),
    ...(serverIp === undefined ? {} : { serverIp }),
  }
}
