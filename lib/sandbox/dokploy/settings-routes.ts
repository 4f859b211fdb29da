/** `settings.*`: health, version, the panel's host name, Traefik's files. */

import { choice, emailOrEmpty, flag, nothing, nullable, object, optional, text } from './input.ts'
import { type Context, mutation, publicQuery, query, type Routes } from './router.ts'
import { isoOf, ONLY, randomText, type SettingsRow, type TraefikRow } from './state.ts'
import { initialTraefik, MIDDLEWARES_FILE, PANEL_FILE, renderPanelFile, withAcmeEmail } from './traefik-files.ts'
import { refuse } from './wire.ts'

/** The settings row; made on first use, as the real one is by a migration. */
export const readSettings = ({ state, clock }: Context): SettingsRow => {
  const found = state.settings.get(ONLY)
  if (found) return found
  const made = initialSettings(isoOf(clock.nowMs()))
  state.settings.put(ONLY, made)
  return made
}

export const readTraefik = ({ state }: Pick<Context, 'state'>): TraefikRow => {
  const found = state.traefik.get(ONLY)
  if (found) return found
  const made = initialTraefik()
  state.traefik.put(ONLY, made)
  return made
}

/** Only the fields that are given change: undefined means "leave it", as in the vendor's update. */
export const updateSettings = (context: Context, change: Partial<SettingsRow>): SettingsRow => {
  const next = { ...readSettings(context), ...change, updatedAt: isoOf(context.clock.nowMs()) }
  context.state.settings.put(ONLY, next)
  return next
}

const updateTraefik = (context: Context, change: (row: TraefikRow) => Partial<TraefikRow>): void => {
  const row = readTraefik(context)
  context.state.traefik.put(ONLY, { ...row, ...change(row), generation: row.generation + 1 })
}

export const writeDynamic = (context: Context, name: string, text: string | undefined): void =>
  updateTraefik(context, row => {
    const { [name]: _replaced, ...others } = row.dynamic
    return { dynamic: text === undefined ? others : { ...others, [name]: text } }
  })

const serverChoice = optional(object({ serverId: optional(text()) }))
const traefikConfig = object({ traefikConfig: text({ min: 1 }) })

export const settingsRoutes = {
  'settings.health': publicQuery(() => ({ status: 'ok' })),
  'settings.checkInfrastructureHealth': query(nothing, () => ({
    postgres: { status: 'healthy' },
    traefik: { status: 'healthy' },
  })),
  'settings.isCloud': publicQuery(() => false),
  'settings.getDokployVersion': query(nothing, context => context.version),
  'settings.getReleaseTag': query(nothing, context => context.version),
  'settings.getIp': query(nothing, context => readSettings(context).serverIp ?? ''),
  // The private SSH key and the metrics token come back in clear from the real thing too.
  'settings.getWebServerSettings': query(nothing, readSettings),

  'settings.updateServerIp': mutation(object({ serverIp: text() }), (context, { serverIp }) =>
    updateSettings(context, { serverIp }),
  ),

  'settings.assignDomainServer': mutation(
    object({
      host: text(),
      certificateType: choice(['letsencrypt', 'none', 'custom']),
      letsEncryptEmail: optional(nullable(emailOrEmpty)),
      https: optional(flag),
    }),
    (context, input) => {
      const row = updateSettings(context, {
        host: input.host,
        certificateType: input.certificateType,
        ...(input.letsEncryptEmail !== undefined && { letsEncryptEmail: input.letsEncryptEmail }),
        ...(input.https !== undefined && { https: input.https }),
      })
      writeDynamic(context, PANEL_FILE, renderPanelFile(readTraefik(context).dynamic[PANEL_FILE], row))
      if (input.letsEncryptEmail) {
        const main = withAcmeEmail(readTraefik(context).main, input.letsEncryptEmail)
        // The row and the route are saved by now: this failure leaves a half-made change behind.
        if (main === undefined) return refuse('INTERNAL_SERVER_ERROR', "Invalid Let's Encrypt configuration structure.")
        updateTraefik(context, () => ({ main }))
      }
      return row
    },
  ),

  'settings.readTraefikConfig': query(nothing, context => readTraefik(context).main),
  'settings.updateTraefikConfig': mutation(traefikConfig, (context, input) => {
    updateTraefik(context, () => ({ main: input.traefikConfig }))
    return true
  }),
  'settings.readWebServerTraefikConfig': query(nothing, context => readTraefik(context).dynamic[PANEL_FILE] ?? null),
  'settings.updateWebServerTraefikConfig': mutation(traefikConfig, (context, input) => {
    writeDynamic(context, PANEL_FILE, input.traefikConfig)
    return true
  }),
  'settings.readMiddlewareTraefikConfig': query(nothing, context => readTraefik(context).dynamic[MIDDLEWARES_FILE] ?? null),
  'settings.updateMiddlewareTraefikConfig': mutation(traefikConfig, (context, input) => {
    writeDynamic(context, MIDDLEWARES_FILE, input.traefikConfig)
    return true
  }),
  'settings.reloadTraefik': mutation(serverChoice, context => {
    updateTraefik(context, row => ({ loadedMain: row.main, reloads: row.reloads + 1 }))
    return true
  }),
} satisfies Routes

const initialSettings = (now: string): SettingsRow => ({
  id: randomText(21),
  serverIp: null,
  certificateType: 'none',
  https: false,
  host: null,
  letsEncryptEmail: null,
  sshPrivateKey: null,
  enableDockerCleanup: true,
  logCleanupCron: '0 0 * * *',
  metricsConfig: {
    server: {
      type: 'Dokploy',
      refreshRate: 60,
      port: 4500,
      token: '',
      retentionDays: 2,
      cronJob: '',
      urlCallback: '',
      thresholds: { cpu: 0, memory: 0 },
    },
    containers: { refreshRate: 60, services: { include: [], exclude: [] } },
  },
  createdAt: now,
  updatedAt: now,
})
