/** config.json's sections about applications: what is filled in, and how a mistake is told. */

import { describe, expect, test } from 'bun:test'
import { load, mistakesIn, twoServers } from './configs.ts'

const withApps = (apps: unknown, more: object = {}) => ({ ...twoServers, apps, ...more })
const app = (fields: object) => withApps({ web: { server: 'prod', source: { image: 'nginx:1.27' }, ...fields } })

describe('what an app is by default', () => {
  test('an image: production of the estate’s project, port 3000, checked and started before the old one goes, deployed by command', () => {
    const [web] = load(app({})).platform?.apps ?? []
    expect(web).toMatchObject({
      name: 'web',
      server: 'prod-dokploy',
      project: 'nextnode',
      environment: 'production',
      source: { kind: 'image', image: 'nginx:1.27' },
      port: 3000,
      replicas: 1,
      deployOn: 'command',
      postDeploy: { action: 'none' },
      domains: [],
    })
    expect(web?.health?.command.join(' ')).toContain('http://127.0.0.1:3000/')
    expect(web?.health).toMatchObject({ intervalMs: 10_000, timeoutMs: 5_000, startMs: 30_000, retries: 3 })
  })

  test('a repository is built with Nixpacks, or with the Dockerfile that is named, and deployed by pushes', () => {
    const config = withApps({
      a: { server: 'dev', source: { github: 'acme/shop' } },
      b: {
        server: 'dev',
        source: { git: 'https://github.com/acme/api.git', branch: 'prod' },
        build: { dockerfile: 'a/Dockerfile', context: '/' },
      },
    })
    const [a, b] = load(config).platform?.apps ?? []
    expect(a).toMatchObject({
      deployOn: 'push',
      source: { build: { type: 'nixpacks' }, repository: { branch: 'main', url: 'https://github.com/acme/shop.git' } },
    })
    expect(b).toMatchObject({
      source: {
        build: { type: 'dockerfile', dockerfile: 'a/Dockerfile', context: '/' },
        repository: { branch: 'prod', repository: { owner: 'acme', name: 'api' } },
      },
    })
  })

  test('a domain is served over HTTPS with a certificate from Let’s Encrypt, at the app’s port', () => {
    const [web] = load(app({ port: 8080, domains: [{ host: 'www.nextnode.fr' }] })).platform?.apps ?? []
    expect(web?.domains).toEqual([
      { host: 'www.nextnode.fr', path: '/', port: 8080, https: true, certificate: 'letsencrypt', stripPath: false },
    ])
  })

  test('a file without such sections has no platform', () => {
    expect(load(twoServers).platform).toBeUndefined()
  })
})

describe('cache actions', () => {
  const stack = (post: object, more: object = {}) =>
    load(
      withApps({
        api: { server: 'prod', source: { github: 'acme/api' }, compose: { file: 'compose.yml' }, post_deploy: post, ...more },
      }),
    ).platform?.apps[0]?.postDeploy

  test('flush of a compose stack is chained to its command, so that it runs after a push too', () => {
    expect(stack({ action: 'flush' })).toEqual({
      action: 'exec',
      what: 'flush',
      service: 'cache',
      command: 'redis-cli FLUSHALL',
      via: 'compose_command',
    })
  })

  test('selective needs a pipe, which Dokploy’s command refuses: it travels as a file, and runs after a push too', () => {
    expect(stack({ action: 'selective', pattern: 'user:*' })).toEqual({
      action: 'exec',
      what: 'selective',
      service: 'cache',
      command: "redis-cli --scan --pattern 'user:*' | tr '\\n' '\\000' | xargs -0 -r redis-cli UNLINK",
      via: 'compose_script',
    })
  })

  test('an application’s flush calls a URL, which a notification does after pushes too', () => {
    const [web] = load(app({ post_deploy: { action: 'flush', url_env: 'FLUSH_URL' } })).platform?.apps ?? []
    expect(web?.postDeploy).toEqual({ action: 'call', urlVariable: 'FLUSH_URL' })
  })
})

describe('mistakes are told with their place, all at once', () => {
  test.each([
    [
      'an unknown server',
      app({ server: 'prd' }),
      'apps.web.server: names "prd", which is no server with Dokploy; did you mean "prod"?',
    ],
    [
      'no server among two',
      withApps({ web: { source: { image: 'a:1' } } }),
      'apps.web.server: is missing: say which of dev, dev-dokploy, prod or prod-dokploy',
    ],
    [
      'no source',
      withApps({ web: { server: 'prod' } }),
      'apps.web.source: is missing: say where it comes from, with github, git or image',
    ],
    [
      'two sources',
      app({ source: { image: 'a:1', github: 'a/b' } }),
      'apps.web.source: names github and image: it comes from one of them',
    ],
    ['a misspelt key', app({ helth: {} }), 'apps.web.helth: unknown key; did you mean "health"?'],
    [
      'a build of an image',
      app({ build: { type: 'nixpacks' } }),
      'apps.web.build: builds nothing: source names a finished image',
    ],
    [
      'a Dockerfile for Nixpacks',
      withApps({ web: { server: 'prod', source: { github: 'a/b' }, build: { type: 'nixpacks', dockerfile: 'Dockerfile' } } }),
      'apps.web.build.dockerfile: is not used by nixpacks',
    ],
    [
      'a branch of an image',
      app({ source: { image: 'a:1', branch: 'main' } }),
      'apps.web.source.branch: needs a repository: github or git',
    ],
    [
      'a login in an address',
      app({ source: { git: 'https://u:p@host/x.git' } }),
      'apps.web.source.git: must be a repository like "https://host/name.git" or "git@host:name.git", without user name and password, not "https://u:p@host/x.git"',
    ],
    [
      'a key that is missing',
      app({ source: { git: 'git@host:x.git' } }),
      'apps.web.source.ssh_key: is missing: Dokploy clones that address with a key',
    ],
    [
      'a file outside',
      app({ env_file: '../.env' }),
      'apps.web.env_file: must be the path of a file below the folder of this file, not "../.env"',
    ],
    [
      'one name twice',
      withApps({
        a: { server: 'prod', source: { image: 'a:1' }, domains: [{ host: 'x.nextnode.fr' }] },
        b: { server: 'prod', source: { image: 'a:1' }, domains: [{ host: 'x.nextnode.fr' }] },
      }),
      'apps.b.domains[0].host: is x.nextnode.fr, which apps.a answers already',
    ],
    [
      'a stack’s domain without its service',
      withApps({ s: { server: 'prod', compose: { file: 'c.yml' }, domains: [{ host: 'x.nextnode.fr' }] } }),
      'apps.s.domains[0].service: is missing: which service of the compose file answers',
    ],
    [
      'replicas of a stack',
      withApps({ s: { server: 'prod', compose: { file: 'c.yml' }, replicas: 2 } }),
      'apps.s.replicas: stands in the compose file of a compose stack',
    ],
    [
      'an action without its pattern',
      withApps({ s: { server: 'prod', compose: { file: 'c.yml' }, post_deploy: { action: 'selective' } } }),
      'apps.s.post_deploy.pattern: is missing',
    ],
    [
      'an action that a push cannot run',
      withApps({
        s: {
          server: 'prod',
          source: { github: 'a/b' },
          compose: { file: 'c.yml', type: 'stack' },
          post_deploy: { action: 'selective', pattern: 'u:*' },
        },
      }),
      'apps.s.post_deploy: cannot run after a push: Dokploy runs nothing after a deploy of the type "stack"; use url_env, the type "docker-compose", or deploy_on "command"',
    ],
    [
      'a flush that reaches nothing',
      app({ post_deploy: { action: 'flush' } }),
      "apps.web.post_deploy: has no cache to reach: an application's flush needs url_env, a URL of the app that does it",
    ],
    ['an unknown registry', app({ registry: 'ghrc' }), 'apps.web.registry: names "ghrc", which is not among registries'],
    [
      'a token for a stranger',
      { ...twoServers, notifications: { ops: { server: 'prod', kind: 'webhook', url_env: 'HCLOUD_TOKEN' } } },
      'notifications.ops.url_env: must not be HCLOUD_TOKEN: that opens the estate itself',
    ],
    [
      'a backup of nothing',
      { ...twoServers, buckets: {}, backups: { db: {} } },
      'backups.db: saves nothing: name a database, an app or a panel',
    ],
    [
      'a backup of an unknown database',
      {
        ...twoServers,
        databases: { main: { server: 'prod' } },
        backups: { db: { to: 's3', database: 'mian' } },
        buckets: {
          s3: { server: 'prod', endpoint: 'https://s3.example.net', bucket: 'abc', access_key_env: 'A_B', secret_key_env: 'C_D' },
        },
      },
      'backups.db.database: names "mian", which is not among databases; did you mean "main"?',
    ],
    [
      'a backup that stops a stack without saying which of its services',
      {
        ...withApps({ web: { server: 'prod', source: { github: 'acme/web' }, compose: { file: 'compose.yml' } } }),
        backups: { files: { app: 'web', volume: 'data', stop: true } },
      },
      'backups.files.service: is missing: which service of the compose file stops meanwhile',
    ],
    [
      'a backup of a service that an application does not have',
      {
        ...withApps({ web: { server: 'prod', source: { image: 'a:1' }, volumes: { data: '/data' } } }),
        backups: { files: { app: 'web', volume: 'data', service: 'web' } },
      },
      'backups.files.service: is not used: only a compose stack has services',
    ],
    [
      'a schedule that is none',
      { ...twoServers, backups: { db: { schedule: 'daily' } } },
      'backups.db.schedule: must be a cron expression of five fields like "0 3 * * *", not "daily"',
    ],
    [
      'a schedule with an hour that no day has',
      { ...twoServers, backups: { db: { schedule: '0 25 * * *' } } },
      'backups.db.schedule: must be a cron expression of five fields like "0 3 * * *", not "0 25 * * *"',
    ],
    [
      'a schedule that never comes up',
      { ...twoServers, backups: { db: { schedule: '0 0 31 2 *' } } },
      'backups.db.schedule: must be a cron expression of five fields like "0 3 * * *", not "0 0 31 2 *"',
    ],
  ])('%s', (_name, config, says) => {
    expect(mistakesIn(config)).toContain(says)
  })

  test('a wrong value does not hide the others', () => {
    const says = mistakesIn(withApps({ web: { server: 'prod', source: { image: 'UPPER' }, port: 0, replicas: 1.5 } }))
    expect(says).toHaveLength(3)
  })
})
