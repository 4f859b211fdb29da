/** Backups as the steps see them: what is as wanted, and what was changed or made wrongly before. */

import { describe, expect, test } from 'bun:test'
import { subjectOf } from '../../../lib/apps/drill.ts'
import type { BackupSpec } from '../../../lib/estate/apps.ts'
import type { Backup, Bucket, Compose, VolumeBackup } from '../../../lib/providers/ports/dokploy-apps.ts'
import { Secret } from '../../../lib/secret.ts'
import type { AppDeps } from '../../../lib/steps/app-place.ts'
import type { AppsView } from '../../../lib/steps/app-world.ts'
import { backupStep } from '../../../lib/steps/backup.ts'
import { volumeCalled, volumeNameOf } from '../../../lib/steps/backup-volume.ts'
import { load, twoServers } from '../estate/configs.ts'
import { deps as estateDeps, lookAt } from './worlds.ts'

const deps: AppDeps = {
  ...estateDeps,
  appsOn: () => Promise.reject(new Error('a look asks nobody')),
  inputOf: app => {
    throw new Error(`a look at backups reads no input of ${app}`)
  },
}

const bucket: Bucket = {
  id: 'b1',
  name: 's3',
  provider: 'Other',
  endpoint: 'https://s3.example.net',
  region: 'x',
  bucket: 'acme',
  accessKey: new Secret('a', 'a', 'unlisted'),
  secretKey: new Secret('s', 's', 'unlisted'),
}

const view = (change: Partial<AppsView>): AppsView => ({
  state: 'open',
  projects: [],
  services: {},
  databases: {},
  schedules: {},
  volumeBackups: {},
  buckets: [bucket],
  panelBackups: [],
  neighbours: [],
  registries: [],
  notifications: [],
  sshKeys: [],
  githubApps: [],
  ...change,
})

const common = { server: 'prod', bucket: 's3', schedule: '0 3 * * *', keep: 14 }

const compose = (file: string, more: Partial<Compose> = {}): Compose => ({
  kind: 'compose',
  id: 'c1',
  name: 'shop',
  appName: 'shop-abc123',
  description: '',
  source: { kind: 'raw' },
  env: [],
  domains: [],
  mounts: [],
  deployments: [],
  refreshToken: new Secret('t', 't', 'unlisted'),
  status: 'done',
  type: 'docker-compose',
  file: new Secret('f', file, 'unlisted'),
  path: '',
  command: '',
  autoDeploy: false,
  ...more,
})

describe('what Docker calls a volume of a stack', () => {
  const file = `services: {}
volumes:
  data:
  named: { name: old-data }
  outside: { external: true }
  renamed: { external: true, name: kept }
`
  const repository: Compose['source'] = { kind: 'git', url: 'https://example.com/a.git', branch: 'main', path: '/', watch: [] }

  test.each([
    ['data', 'shop-abc123_data'],
    ['shop-abc123_data', 'shop-abc123_data'],
    ['named', 'old-data'],
    ['outside', 'outside'],
    ['renamed', 'kept'],
    ['nowhere', 'shop-abc123_nowhere'],
  ])('%s: %s', (volume, name) => {
    expect(volumeNameOf(compose(file), volume)).toBe(name)
  })

  test.each([
    ['shop-abc123_data', 'data'],
    ['old-data', 'named'],
    ['outside', 'outside'],
    ['kept', 'renamed'],
    ['somebody-elses', undefined],
  ])('%s is called %s in config.json', (name, volume) => {
    expect(volumeCalled(compose(file), name)).toBe(volume)
  })

  test('a file in a repository, or one that is no YAML, names none', () => {
    expect(volumeNameOf(compose(file, { source: repository }), 'named')).toBe('shop-abc123_named')
    expect(volumeNameOf(compose('volumes: ['), 'named')).toBe('shop-abc123_named')
  })
})

describe('the backup of a stack’s volume', () => {
  const stack = compose('services: {}\nvolumes:\n  data:\n')
  const estate = load({
    ...twoServers,
    apps: { shop: { server: 'prod', source: { github: 'acme/shop' }, compose: { file: 'compose.yml' } } },
    buckets: {
      s3: { server: 'prod', endpoint: 'https://s3.example.net', bucket: 'acme', access_key_env: 'A_B', secret_key_env: 'C_D' },
    },
    backups: { data: { app: 'shop', volume: 'data', service: 'web', stop: true } },
  })
  const [spec] = estate.platform?.backups ?? []
  const [app] = estate.platform?.apps ?? []
  const kept: VolumeBackup = {
    id: 'v1',
    name: 'data',
    volume: 'shop-abc123_data',
    service: 'web',
    bucketId: 'b1',
    prefix: 'data',
    schedule: '0 3 * * *',
    keep: 14,
    enabled: true,
    stop: true,
  }
  const worldOf = (backup: VolumeBackup) =>
    view({
      projects: [
        {
          id: 'p1',
          name: app?.project ?? '',
          description: '',
          environments: [
            {
              id: 'e1',
              name: app?.environment ?? '',
              isDefault: true,
              services: [{ kind: 'compose', id: 'c1', name: 'shop' }],
            },
          ],
        },
      ],
      services: { c1: stack },
      volumeBackups: { c1: [backup] },
    })
  const look = (backup: VolumeBackup) => {
    if (!spec) throw new Error('the config has no backup')
    return lookAt(backupStep({ ...deps, estate }, spec), { apps: { [spec.server]: worldOf(backup) } })
  }

  test('by the name that Docker has for it, with the service that stops, it is as wanted', () => {
    expect(look(kept)).toMatchObject({ state: 'done' })
  })

  test('one that was made by the name in the compose file, and stops nothing, is changed', () => {
    const { service: _, ...before } = kept
    expect(look({ ...before, volume: 'data', stop: false })).toMatchObject({
      state: 'todo',
      changes: [
        {
          kind: 'change',
          details: ['volume: data → shop-abc123_data', 'service: nothing → web', 'stop: false → true'],
        },
      ],
    })
  })

  test('its files lie in a folder of the stack’s name and the service’s', () => {
    const folderOf = (backup: VolumeBackup) => spec && subjectOf(spec, { estate }, worldOf(backup))?.folder
    const { service: _, ...ofTheStack } = kept
    expect(folderOf(kept)).toBe('shop-abc123_web/data/')
    expect(folderOf(ofTheStack)).toBe('shop-abc123/data/')
  })
})

describe('the backup of the panel', () => {
  const spec: BackupSpec = { ...common, name: 'panel', prefix: 'panel', what: { kind: 'panel' } }
  const kept: Backup = {
    id: 'k1',
    appName: 'backup-abc',
    bucketId: 'b1',
    prefix: 'panel',
    schedule: '0 3 * * *',
    keep: 14,
    enabled: true,
    database: 'dokploy',
    withEncryptionKey: true,
  }
  const look = (panelBackups: readonly Backup[]) => lookAt(backupStep(deps, spec), { apps: { prod: view({ panelBackups }) } })

  test('with its key it is as wanted', () => {
    expect(look([kept])).toMatchObject({ state: 'done' })
  })

  test('without its key it is changed', () => {
    expect(look([{ ...kept, withEncryptionKey: false }])).toMatchObject({
      state: 'todo',
      changes: [{ kind: 'change', details: ['withEncryptionKey: false → true'] }],
    })
  })
})
