/** The part of config.json's schema that is about applications: apps, databases, registries, backups and notifications. */

import * as v from 'valibot'
import { flag, integer, type KeyDoc, key, label, list, mustBe, named, section, text } from './schema-kit.ts'

/** Five fields of numbers that come up some day: not "0 0 31 2 *". */
function isSchedule(input: string): boolean {
  if (!/^(?:[\d*/,-]+\s+){4}[\d*/,-]+$/.test(input)) return false
  try {
    return Bun.cron.parse(input) !== null
  } catch {
    return false
  }
}

const documented = <const S extends v.GenericSchema>(schema: S, doc: KeyDoc) => v.pipe(schema, v.metadata({ ...doc }))
const oneOf = <const W extends readonly [string, ...string[]]>(words: W) =>
  v.picklist(words, mustBe(words.map(word => `"${word}"`).join(' or ')))

const PATH = 'a path inside the repository without ".." and control characters'
const isRepositoryPath = (input: string): boolean =>
  input !== '' && input.length <= 255 && !/[\p{Cc}\p{Cf}\\]/u.test(input) && !input.split('/').includes('..')
const repositoryPath = v.pipe(v.string(mustBe(PATH)), v.check(isRepositoryPath, mustBe(PATH)))
const LOCAL = 'the path of a file below the folder of this file'
const localPath = v.pipe(
  v.string(mustBe(LOCAL)),
  v.check(input => isRepositoryPath(input) && !input.startsWith('/'), mustBe(LOCAL)),
)
const HOST = 'a host name like "www.example.com"'
const host = text(HOST, /^(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])$/)
const URL_PATH = 'a path like "/health"'
const urlPath = text(URL_PATH, /^\/[\w\-.~%!$&'()*+,;=:@/?]{0,200}$/)
const PORT = 'a port from 1 to 65535'
const port = integer(PORT, 1, 65_535)
const VARIABLE = 'the name of an environment variable, in capitals'
const variable = text(VARIABLE, /^[A-Z][A-Z0-9_]{1,63}$/)
const CRON = 'a cron expression of five fields like "0 3 * * *"'
const cron = v.pipe(v.string(mustBe(CRON)), v.check(isSchedule, mustBe(CRON)))
const IMAGE = 'an image like "ghcr.io/acme/web:1.4"'
const dockerImage = text(IMAGE, /^[a-z0-9][\w.\-/:]{0,200}(?:@sha256:[0-9a-f]{64})?$/)
const BRANCH = 'a branch like "main"'
const branch = text(BRANCH, /^[A-Za-z0-9._\-/#]{1,200}$/)
const WORD = 'a name of letters, digits, dots, hyphens and underscores'
const word = text(WORD, /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/)
const plain = (what: string, limit = 500) =>
  v.pipe(
    v.string(mustBe(what)),
    v.check(input => input.length > 0 && input.length <= limit && !/\p{Cc}/u.test(input), mustBe(what)),
  )

const serverKey = key(label, 'name', 'the only Dokploy server', 'Server or role whose Dokploy it lives in.')
const placeKeys = {
  server: serverKey,
  project: key(word, 'name', 'the estate', "Project in Dokploy's panel."),
  environment: key(word, 'name', 'production', 'Environment of the project.'),
}

const source = section({
  github: key(
    text('a repository like "owner/name"', /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})\/[A-Za-z0-9._-]{1,100}$/),
    'text',
    '',
    'Repository at GitHub, "owner/name".',
  ),
  git: key(
    text(
      'a repository like "https://host/name.git" or "git@host:name.git", without user name and password',
      /^(?:https:\/\/[^\s@]+|ssh:\/\/[\w.-]+@[^\s]+|[\w.-]+@[\w.-]+:[^\s]+)$/,
    ),
    'text',
    '',
    'Any other repository.',
  ),
  image: key(dockerImage, 'text', '', 'Finished image, instead of a repository.'),
  branch: key(branch, 'text', 'main', 'Branch that is deployed.'),
  path: key(repositoryPath, 'path', '/', 'Folder of the repository that is built.'),
  watch: key(
    list(plain('a pattern like "apps/web/**"', 200), 'a list of patterns'),
    'list of patterns',
    'every push',
    'A push deploys only when it touches one of these.',
  ),
  ssh_key: key(word, 'name', 'none', 'Name of an SSH key kept in Dokploy, for git@… repositories.'),
})

const build = section({
  type: key(
    oneOf(['dockerfile', 'nixpacks', 'railpack', 'static', 'heroku_buildpacks', 'paketo_buildpacks']),
    'text',
    'dockerfile when dockerfile is given, else nixpacks',
    'How the image is made.',
  ),
  dockerfile: key(repositoryPath, 'path', 'Dockerfile', 'Dockerfile, from the root of the repository.'),
  context: key(repositoryPath, 'path', '/', 'Build context.'),
  stage: key(word, 'name', 'the last', 'Stage of the Dockerfile.'),
  publish: key(repositoryPath, 'path', 'none', 'Folder with the finished files (static, nixpacks).'),
  spa: key(flag, 'true or false', 'false', 'Whether every path is answered with index.html (static).'),
})

const health = section({
  path: key(urlPath, 'path', '/', 'What the container is asked inside; any answer below 400 is healthy.'),
  command: key(
    list(plain('a word of a command'), 'a list of words'),
    'list of texts',
    'wget or curl to path',
    'What runs in the container instead; needed where the image has neither wget nor curl.',
  ),
  none: key(flag, 'true or false', 'false', 'True: no health check; then a broken version replaces the good one.'),
  interval_s: key(integer('seconds from 1 to 3600', 1, 3600), 'number', '10', 'Seconds between two checks.'),
  timeout_s: key(integer('seconds from 1 to 3600', 1, 3600), 'number', '5', 'Seconds that one check may take.'),
  start_s: key(integer('seconds from 0 to 3600', 0, 3600), 'number', '30', 'Seconds in which failures do not count.'),
  retries: key(integer('a number from 1 to 100', 1, 100), 'number', '3', 'Failures until it counts as unhealthy.'),
})

const domain = section({
  host: key(host, 'text', '', 'Name that visitors use.'),
  path: key(urlPath, 'path', '/', 'Only requests below this path.'),
  port: key(port, 'number', "the app's port", 'Port in the container.'),
  service: key(word, 'name', '', 'Service of the compose file that answers.'),
  https: key(flag, 'true or false', 'true', 'Whether it is served over HTTPS, with redirect.'),
  certificate: key(
    oneOf(['letsencrypt', 'custom', 'none']),
    'text',
    'letsencrypt',
    'letsencrypt: ordered over HTTP; custom: installed beforehand, as a cutover does; none: no certificate.',
  ),
  resolver: key(word, 'name', '', 'Certificate resolver of Traefik, for certificate custom.'),
  strip_path: key(flag, 'true or false', 'false', 'Whether the path is taken away before the app sees it.'),
})

const postDeploy = section({
  action: key(
    oneOf(['none', 'flush', 'versioned', 'selective', 'command']),
    'text',
    'none',
    'Cache handling: flush empties it, versioned gives keys a prefix through DEPLOY_VERSION, selective removes a pattern, command runs one.',
  ),
  service: key(word, 'name', 'cache', 'Service of the compose file that the action runs in.'),
  pattern: key(text('a key pattern like "user:*"', /^[\w:*?\-.[\]{}]{1,100}$/), 'text', '', 'Keys that selective removes.'),
  command: key(plain('a command on one line'), 'text', '', 'What the action command runs.'),
  url_env: key(variable, 'name', '', 'Variable with a URL that is called instead, for an app without a compose file.'),
})

const app = section({
  ...placeKeys,
  source: key(source, 'group', '', 'Where it comes from.'),
  build: key(build, 'group', 'nixpacks', 'How the image is made from the repository.'),
  compose: key(
    section({
      file: key(localPath, 'path', '', 'Compose file: in the repository when source names one, else beside this file.'),
      type: key(
        oneOf(['docker-compose', 'stack']),
        'text',
        'docker-compose',
        'stack rolls from version to version, but cannot build.',
      ),
    }),
    'group',
    'an application',
    'Makes it a compose stack.',
  ),
  env_file: key(localPath, 'path', 'no variables', '.env file with its variables, beside this file.'),
  port: key(port, 'number', '3000', 'Port that the container listens on.'),
  domains: key(list(domain, 'a list of domains'), 'list of groups', 'none', 'Names it answers under.'),
  health: key(health, 'group', 'GET / every 10 s', 'When a container counts as healthy.'),
  version: key(
    section({
      header: key(text('a header name', /^[A-Za-z][A-Za-z0-9-]{0,60}$/), 'text', '', 'Response header that holds the version.'),
      path: key(urlPath, 'path', '', 'Path whose answer holds the version.'),
    }),
    'group',
    'not shown',
    'Where the public answer shows the version (DEPLOY_VERSION); without it a deploy can only see that it answers.',
  ),
  replicas: key(integer('a number from 1 to 50', 1, 50), 'number', '1', 'Containers that run side by side.'),
  memory_mb: key(integer('megabytes from 16 to 1048576', 16, 1_048_576), 'number', 'no limit', 'Memory limit of a container.'),
  volumes: key(
    named(
      word,
      documented(text('an absolute path', /^\/[\w\-./]{1,200}$/), {
        type: 'path',
        default: '',
        meaning: 'Where the volume is mounted.',
      }),
    ),
    'group',
    'none',
    'Named volumes.',
  ),
  deploy_on: key(
    oneOf(['push', 'command']),
    'text',
    'push for a repository, command else',
    'push: every push deploys, through a webhook; command: only deploy.ts does, by hand or in CI.',
  ),
  registry: key(
    word,
    'name',
    'none',
    'Registry that keeps former versions for rollbacks, and that workers pull from: needed where a server with workers builds it.',
  ),
  post_deploy: key(postDeploy, 'group', 'none', 'What happens after each deploy.'),
})

const database = section({
  ...placeKeys,
  kind: key(oneOf(['postgres', 'mysql', 'mariadb', 'mongo', 'redis']), 'text', 'postgres', 'Which database.'),
  image: key(dockerImage, 'text', "Dokploy's own choice", 'Image.'),
  database: key(text('a name', /^[a-z][a-z0-9_]{0,62}$/), 'text', 'app', 'Name of the database.'),
  user: key(
    text('a name', /^[a-z][a-z0-9_]{0,62}$/),
    'text',
    'app',
    'Its user; the password is made by Landfall and stays in Dokploy.',
  ),
})

const registry = section({
  server: serverKey,
  url: key(text('a registry like "ghcr.io"', /^[a-z0-9][a-z0-9.-]*(?::\d{1,5})?$/), 'text', '', 'Address of the registry.'),
  username: key(plain('a user name', 100), 'text', '', 'User name.'),
  password_env: key(variable, 'name', '', 'Variable that holds the password.'),
  prefix: key(
    text('a path like "acme"', /^[a-z0-9][a-z0-9._/-]{0,100}$/),
    'text',
    'the user name',
    'What stands before image names.',
  ),
})

const bucket = section({
  server: serverKey,
  endpoint: key(
    text('an https:// address', /^https:\/\/[^\s@?#]+$|^http:\/\/127\.0\.0\.1:\d+$/),
    'text',
    '',
    'Address of the S3 service.',
  ),
  region: key(word, 'name', 'us-east-1', 'Region.'),
  bucket: key(text('a bucket name', /^[a-z0-9][a-z0-9.-]{1,62}$/), 'text', '', 'Bucket.'),
  provider: key(word, 'name', 'Other', "Name of the vendor in rclone's words."),
  access_key_env: key(variable, 'name', '', 'Variable that holds the access key id.'),
  secret_key_env: key(variable, 'name', '', 'Variable that holds the secret access key.'),
})

const backup = section({
  to: key(word, 'name', 'the only bucket', 'Entry of buckets.'),
  database: key(word, 'name', '', 'Entry of databases that is dumped.'),
  app: key(word, 'name', '', 'Entry of apps whose volume is saved.'),
  volume: key(word, 'name', '', 'Named volume of app, as volumes or its compose file calls it.'),
  service: key(
    word,
    'name',
    '',
    'Of a compose stack: service whose container stops with stop; its name joins that of the folder in the bucket.',
  ),
  stop: key(flag, 'true or false', 'false', 'Whether the container stops while its volume is saved.'),
  panel: key(label, 'name', '', 'Server whose Dokploy is saved: its database and files, with the encryption key.'),
  schedule: key(cron, 'text', '0 3 * * *', 'When.'),
  keep: key(integer('a number from 1 to 1000', 1, 1000), 'number', '14', 'How many are kept.'),
  prefix: key(text('a path like "db"', /^[A-Za-z0-9][\w\-./]{0,100}$/), 'path', 'the name of the entry', 'Folder in the bucket.'),
})

const EVENTS = [
  'deploy',
  'build_error',
  'database_backup',
  'volume_backup',
  'panel_backup',
  'restart',
  'cleanup',
  'threshold',
] as const
const notification = section({
  server: serverKey,
  kind: key(oneOf(['slack', 'discord', 'email', 'webhook']), 'text', '', 'Where it goes.'),
  url_env: key(variable, 'name', '', 'Variable with the webhook URL (slack, discord, webhook).'),
  channel: key(text('a channel', /^#?[\w-]{0,80}$/), 'text', '', 'Channel (slack).'),
  smtp_server: key(plain('a host name', 253), 'text', '', 'Mail server (email).'),
  smtp_port: key(port, 'number', '587', 'Its port.'),
  username: key(plain('a user name', 200), 'text', '', 'Its user.'),
  password_env: key(variable, 'name', '', 'Variable with its password.'),
  from: key(plain('an e-mail address', 200), 'text', '', 'Sender.'),
  to: key(list(plain('an e-mail address', 200), 'a list of e-mail addresses'), 'list of texts', '', 'Receivers.'),
  on: key(list(oneOf(EVENTS), 'a list of events'), 'list of texts', 'all but cleanup', `What is reported: ${EVENTS.join(', ')}.`),
})

/** The sections, by their names in the file. */
export const appEntries = {
  apps: key(named(label, app), 'group', 'none', 'Applications and compose stacks in Dokploy, by name.'),
  databases: key(named(label, database), 'group', 'none', 'Databases in Dokploy, by name.'),
  registries: key(named(word, registry), 'group', 'none', 'Image registries, by name.'),
  buckets: key(named(word, bucket), 'group', 'none', 'S3 buckets that backups go to, by name.'),
  backups: key(named(word, backup), 'group', 'none', 'Scheduled backups, by name.'),
  notifications: key(named(word, notification), 'group', 'none', 'Who is told what, by name.'),
}
