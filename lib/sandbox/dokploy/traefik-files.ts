/**
 * The Traefik files that Dokploy keeps under `/etc/dokploy/traefik`, as v0.30.2 writes them. The panel's route and the account e-mail
 * are edits of these texts, so what an operator changed by hand survives or breaks here as it does there.
 */

import type { SettingsRow, TraefikRow } from './state.ts'

export const PANEL_FILE = 'dokploy.yml'
export const MIDDLEWARES_FILE = 'middlewares.yml'
/** What an untouched installation registers at Let's Encrypt with. */
const PLACEHOLDER_EMAIL = 'test@localhost.com'

interface Router {
  rule?: string
  service?: string
  entryPoints?: string[]
  middlewares?: string[]
  tls?: { certResolver?: string }
}

interface DynamicFile {
  http?: { routers?: Record<string, Router>; services?: Record<string, unknown> }
}

interface MainFile {
  certificatesResolvers?: { letsencrypt?: { acme?: { email?: string } } }
}

export const initialTraefik = (): TraefikRow => ({
  main: DEFAULT_MAIN,
  loadedMain: DEFAULT_MAIN,
  dynamic: {
    [PANEL_FILE]: toYaml({
      http: {
        routers: {
          'dokploy-router-app': {
            rule: 'Host(`dokploy.docker.localhost`) && PathPrefix(`/`)',
            service: 'dokploy-service-app',
            entryPoints: ['web'],
          },
        },
        services: panelService,
      },
    }),
    [MIDDLEWARES_FILE]: toYaml({
      http: { middlewares: { 'redirect-to-https': { redirectScheme: { scheme: 'https', permanent: true } } } },
    }),
  },
  generation: 1,
  reloads: 0,
})

/** The panel's file for `settings`; undefined when the host was taken away, which removes the file. */
export const renderPanelFile = (current: string | undefined, settings: SettingsRow): string | undefined => {
  const { host, https, certificateType } = settings
  if (!host) return undefined
  const file = (current === undefined ? {} : (Bun.YAML.parse(current) as DynamicFile | null)) ?? {}
  const rule = `Host(\`${host}\`)`
  const routers: Record<string, Router> = { ...file.http?.routers }
  routers['dokploy-router-app'] = {
    service: 'dokploy-service-app',
    entryPoints: ['web'],
    ...routers['dokploy-router-app'],
    rule,
    middlewares: https ? ['redirect-to-https'] : [],
  }
  if (https)
    routers['dokploy-router-app-secure'] = {
      rule,
      service: 'dokploy-service-app',
      entryPoints: ['websecure'],
      ...(certificateType === 'letsencrypt' && { tls: { certResolver: 'letsencrypt' } }),
    }
  else delete routers['dokploy-router-app-secure']
  return toYaml({ http: { ...file.http, routers, services: { ...file.http?.services, ...panelService } } })
}

/** The main file with another account e-mail; undefined where the `letsencrypt` resolver is missing. */
export const withAcmeEmail = (main: string, email: string): string | undefined => {
  const file = Bun.YAML.parse(main) as MainFile | null
  const acme = file?.certificatesResolvers?.letsencrypt?.acme
  if (!acme) return undefined
  acme.email = email
  return toYaml(file)
}

/** The account e-mail of a main file; undefined where the `letsencrypt` resolver is missing, so that no certificate can be had. */
export const acmeEmailOf = (main: string): string | undefined => {
  const file = Bun.YAML.parse(main) as MainFile | null
  return file?.certificatesResolvers?.letsencrypt?.acme?.email
}

const panelService = {
  'dokploy-service-app': { loadBalancer: { servers: [{ url: 'http://dokploy:3000' }], passHostHeader: true } },
}

const toYaml = (value: unknown): string => `${Bun.YAML.stringify(value, null, 2)}\n`

const DEFAULT_MAIN = toYaml({
  global: { sendAnonymousUsage: false },
  providers: {
    swarm: { exposedByDefault: false, watch: true },
    docker: { exposedByDefault: false, watch: true, network: 'dokploy-network' },
    file: { directory: '/etc/dokploy/traefik/dynamic', watch: true },
  },
  entryPoints: {
    web: { address: ':80' },
    websecure: { address: ':443', http3: { advertisedPort: 443 }, http: { tls: { certResolver: 'letsencrypt' } } },
  },
  api: { insecure: true },
  certificatesResolvers: {
    letsencrypt: {
      acme: {
        email: PLACEHOLDER_EMAIL,
        storage: '/etc/dokploy/traefik/dynamic/acme.json',
        httpChallenge: { entryPoint: 'web' },
      },
    },
  },
})
