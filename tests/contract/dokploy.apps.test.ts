/** Every call about applications that the adapter makes, against the vendor's published document, while it works with the stand-in. */

import { describe, expect, test } from 'bun:test'
import { NOTIFICATION_EVENTS } from '../../lib/providers/ports/dokploy-apps.ts'
import { Secret } from '../../lib/secret.ts'
import { openRig, type Rig } from '../sandbox/apps/rig.ts'
import { loadSpec } from './spec.ts'

const DOCUMENT = 'dokploy.openapi.json'
const secret = (value: string) => new Secret('test', value, 'unlisted')
const HEALTH = { command: ['curl', '-f', 'http://127.0.0.1:3000/'], intervalMs: 5000, timeoutMs: 2000, startMs: 1000, retries: 2 }
const DOMAIN = {
  host: 'www.example.com',
  path: '/',
  port: 3000,
  https: true,
  certificate: 'letsencrypt',
  stripPath: false,
} as const

/** Takes a panel through everything that the port offers, and answers with what it is then. */
async function rehearse(): Promise<{ rig: Rig; seen: Record<string, unknown> }> {
  const rig = await openRig()
  const { api, control } = rig
  control.apps.addSshKey('deploy')
  control.apps.addGithubApp('acme-app')
  const { projectId, environmentId } = await api.createProject({ name: 'shop', description: 'landfall' })
  const staging = await api.createEnvironment({ projectId, name: 'staging', description: 'landfall' })
  const web = await api.createService({ kind: 'application', environmentId, name: 'web', description: 'mark' })
  const [key] = await api.listSshKeys()
  const [githubApp] = await api.listGithubApps()
  const at = { branch: 'main', path: '/', watch: ['src/**'] }
  await api.setSource(web.id, { kind: 'github', githubId: githubApp?.id ?? '', owner: 'acme', repository: 'shop', ...at })
  await api.setSource(web.id, { kind: 'git', url: 'git@example.com:a/b.git', ...at, sshKeyId: key?.id ?? '' })
  for (const type of ['dockerfile', 'nixpacks', 'railpack', 'static', 'heroku_buildpacks', 'paketo_buildpacks'] as const)
    await api.setBuild(web.id, { type, spa: type === 'static', ...(type === 'static' ? { publish: 'dist' } : {}) })
  await api.setSource(web.id, { kind: 'image', image: 'web:1' })
  await api.createRegistry({ name: 'ghcr', url: 'ghcr.io', username: 'acme', prefix: 'acme', password: secret('p') })
  const [registry] = await api.listRegistries()
  await api.setSettings(web.id, {
    replicas: 2,
    memoryBytes: 268_435_456,
    health: HEALTH,
    update: 'start_first_rollback',
    autoDeploy: false,
    rollbackRegistryId: registry?.id ?? '',
  })
  await api.setDescription(web, 'mark 2')
  await api.setEnv(web, [['A', secret('x y')]])
  await api.createDomain(web, DOMAIN)
  const [domain] = (await api.readService(web)).domains
  await api.setDomain(domain?.id ?? '', { ...DOMAIN, port: 8080 })
  await api.createVolume(web.id, { volume: 'data', path: '/data' })
  const first = await api.startDeploy(web, { title: 'one', description: '' })
  rig.sleep(1000)
  await api.readDeploymentLog(first.id, 5)
  const [task] = await api.listTasks((await api.readService(web)).appName)
  await api.inspectContainer(task?.id ?? '')
  const { appName } = await api.readService(web)
  await api.listContainers(appName, 'application')
  await api.readReplicas(appName)
  await api.reload({ id: web.id, appName })
  const again = await api.startDeploy(web, { title: 'two', description: '', again: true })
  rig.sleep(1000)
  const [, before] = await api.listDeployments(web)
  await api.rollBack(before?.rollback?.id ?? '')
  rig.sleep(1000)

  const stack = await api.createService({
    kind: 'compose',
    environmentId: staging.id,
    name: 'stack',
    description: 'mark',
    compose: { type: 'docker-compose', file: secret('services:\n  web:\n    image: web:1\n  cache:\n    image: redis:8\n') },
  })
  const command = await api.readCommand(stack.id)
  const stackName = (await api.readService(stack)).appName
  await api.setCompose(stack.id, {
    command: `${command} && docker compose -p ${stackName} exec -T cache redis-cli FLUSHALL`,
    autoDeploy: true,
    type: 'docker-compose',
  })
  await api.setEnv(stack, [['B', secret('$x')]])
  await api.setFile(stack.id, { name: 'hook.sh', text: 'true\n' })
  const kept = (await api.readService(stack)).mounts.find(mount => mount.file?.name === 'hook.sh')
  await api.setFile(stack.id, { id: kept?.id ?? '', name: 'hook.sh', text: 'false\n' })
  await api.createDomain(stack, { ...DOMAIN, host: 'stack.example.com', service: 'web' })
  await api.startDeploy(stack, { title: 'three', description: '' })
  rig.sleep(1000)
  await api.readComposeFile(stack.id)
  const [container] = await api.listContainers(stackName, 'compose')
  await api.readComposeLog(stack.id, container?.id ?? '', 5)
  await api.setSchedule(stack, {
    name: 'hook',
    description: 'd',
    command: 'true',
    service: 'cache',
    shell: 'sh',
    enabled: false,
    cron: '0 0 31 2 *',
  })
  const [schedule] = await api.listSchedules(stack)
  if (schedule) await api.setSchedule(stack, { ...schedule, command: 'false', description: 'd' })
  const hook = await api.runSchedule(schedule?.id ?? '')
  const gitStack = await api.createService({
    kind: 'compose',
    environmentId,
    name: 'git-stack',
    description: 'm',
    compose: { type: 'stack' },
  })
  await api.setCompose(gitStack.id, { source: { kind: 'git', url: 'https://example.com/a.git', ...at }, path: 'compose.yml' })
  await api.setCompose(gitStack.id, {
    source: { kind: 'github', githubId: githubApp?.id ?? '', owner: 'a', repository: 'b', ...at },
  })
  await api.listStackTasks((await api.readService(gitStack)).appName)

  await api.setBucket({
    name: 's3',
    provider: 'Other',
    endpoint: 'https://s3.example.net',
    region: 'x',
    bucket: 'b',
    accessKey: secret('a'),
    secretKey: secret('s'),
  })
  const [bucket] = await api.listBuckets()
  if (bucket) await api.setBucket({ ...bucket, region: 'y' })
  if (bucket) await api.testBucket(bucket)
  const bucketId = bucket?.id ?? ''
  for (const kind of ['postgres', 'mysql', 'mariadb', 'mongo', 'redis'] as const) {
    const id = await api.createDatabase({
      kind,
      environmentId,
      name: kind,
      description: 'm',
      database: 'app',
      user: 'app',
      password: secret('abc123'),
    })
    await api.startDatabase(kind, id)
    if (kind === 'redis') continue
    const backup = { bucketId, prefix: 'p', schedule: '0 3 * * *', keep: 3, database: 'app', withEncryptionKey: false }
    await api.setBackup({ kind, id }, backup)
    const [kept] = (await api.readDatabase(kind, id)).backups
    await api.setBackup({ kind, id }, { ...backup, keep: 4, id: kept?.id ?? '' })
    await api.runBackup({ kind, id: kept?.id ?? '' })
  }
  await api.setBackup(
    { kind: 'panel' },
    { bucketId, prefix: 'panel', schedule: '0 4 * * *', keep: 3, database: 'dokploy', withEncryptionKey: true },
  )
  const [panelBackup] = await api.listPanelBackups()
  await api.runBackup({ kind: 'panel', id: panelBackup?.id ?? '' })
  const volume = { name: 'vol', volume: 'data', bucketId, prefix: 'v', schedule: '0 5 * * *', keep: 2, stop: true, appName }
  await api.setVolumeBackup(web, volume)
  const [volumeBackup] = await api.listVolumeBackups(web)
  await api.setVolumeBackup(web, { ...volume, keep: 5, id: volumeBackup?.id ?? '' })
  await api.runBackup({ kind: 'volume', id: volumeBackup?.id ?? '' })
  const ofService = { ...volume, volume: `${stackName}_data`, service: 'cache', appName: stackName }
  await api.setVolumeBackup(stack, ofService)
  const [stackBackup] = await api.listVolumeBackups(stack)
  await api.setVolumeBackup(stack, { ...ofService, keep: 7, id: stackBackup?.id ?? '' })
  const url = secret('https://hooks.example.com/1')
  const email = {
    kind: 'email',
    server: 'smtp.example.com',
    port: 587,
    username: 'u',
    password: secret('p'),
    from: 'a@example.com',
    to: ['b@example.com'],
  } as const
  for (const target of [
    { kind: 'slack', url, channel: '#ops' },
    { kind: 'discord', url },
    { kind: 'webhook', url },
    email,
  ] as const) {
    await api.setNotification({ name: target.kind, target, on: [...NOTIFICATION_EVENTS] })
    const found = (await api.listNotifications()).find(each => each.name === target.kind)
    if (found) await api.setNotification({ ...found, target, on: ['deploy'] })
  }
  const seen = {
    application: await api.readService(web),
    stack: await api.readService(stack),
    notifications: (await api.listNotifications()).map(each => [each.name, each.target.kind, each.on]),
    files: await api.listBackupFiles(bucketId, `${(await api.listPanelBackups())[0]?.appName}/panel/`),
    hook,
    again,
    volumeBackup: (await api.listVolumeBackups(web))[0],
    stackBackup: (await api.listVolumeBackups(stack))[0],
    projects: await api.listProjects(),
  }
  const [stackDomain] = (await api.readService(stack)).domains
  await api.deleteDomain(stackDomain?.id ?? '')
  return { rig, seen }
}

describe('calls about applications', () => {
  test('what was set is what is read back', async () => {
    const { seen } = await rehearse()
    expect(seen.application).toMatchObject({
      description: 'mark 2',
      source: { kind: 'image', image: 'web:1' },
      settings: { replicas: 2, memoryBytes: 268_435_456, health: HEALTH, update: 'start_first_rollback', autoDeploy: false },
      domains: [{ host: 'www.example.com', port: 8080, https: true }],
      mounts: [{ type: 'volume', volume: 'data', path: '/data' }],
    })
    expect(seen.stack).toMatchObject({
      type: 'docker-compose',
      source: { kind: 'raw' },
      autoDeploy: true,
      mounts: [{ type: 'file', file: { name: 'hook.sh', text: 'false\n' } }],
    })
    expect(seen.notifications).toEqual(
      expect.arrayContaining([
        ['email', 'email', ['deploy']],
        ['slack', 'slack', ['deploy']],
      ]),
    )
    expect(seen.files).toHaveLength(1)
    expect(seen.hook).toMatchObject({ status: 'done' })
    expect(seen.volumeBackup).toMatchObject({ keep: 5, stop: true })
    expect(seen.stackBackup).toMatchObject({ keep: 7, service: 'cache', volume: expect.stringMatching(/^stack-[a-z0-9]+_data$/) })
    expect(JSON.stringify(seen)).not.toContain('x y')
  })

  const spec = loadSpec(DOCUMENT)
  // Without the document there is nothing to compare with; in CI that is a failure.
  test.skipIf(spec === undefined && !process.env.CI)(`each fits ${DOCUMENT}`, async () => {
    const { rig } = await rehearse()
    const problems = rig.calls.flatMap(
      call => spec?.validateRequest(call.method, call.path.replace('/api', ''), call.query, call.body) ?? ['no document'],
    )
    expect([...new Set(problems)]).toEqual([])
    expect(new Set(rig.calls.map(call => call.path)).size).toBeGreaterThanOrEqual(70)
  })
})
