/** A correct stack, and the ways in which it is spoiled: each row plants one fault and names the rule that has to find it. */

import { parseComposeFile } from '../../../lib/stack/compose-file.ts'
import type { EnvironmentName, StackConfig } from '../../../lib/stack/config.ts'
import { parseStacks } from '../../../lib/stack/config.ts'
import { parseNginx } from '../../../lib/stack/nginx.ts'
import type { AuditInput } from '../../../lib/stack/rule.ts'

export const CONFIG = `{
  "stacks": {
    "shop": {
      "services": ["api", "web", "python-api", "nginx"],
      "stateful": ["postgres", "redis"],
      "nginx": { "service": "nginx", "config": "nginx" },
      "drain_s": 15,
      "workflow": ".github/workflows/deploy.yml",
      "environments": {
        "dev": { "file": "docker-compose.dev.yml" },
        "prod": { "file": "docker-compose.prod.yml", "on": "ssh", "directory": "/opt/shop" }
      }
    }
  }
}
`

export const COMPOSE = `services:
  nginx:
    image: nginx:1.27.2
    ports:
      - '80:80'
    volumes:
      - ./nginx:/etc/nginx/conf.d:ro
    restart: unless-stopped
    deploy: { resources: { limits: { memory: 512M } } }
  api:
    image: registry.example.com/api:\${TAG}
    env_file: [api.env]
    environment:
      DATABASE_PASSWORD: \${DATABASE_PASSWORD}
    secrets: [signing_key]
    depends_on: [postgres]
    restart: unless-stopped
    stop_grace_period: 20s
    healthcheck:
      test: [CMD, wget, -qO-, 'http://127.0.0.1:5000/health']
    deploy: { resources: { limits: { memory: 2G } } }
  web:
    image: registry.example.com/web:\${TAG}
    depends_on: [api]
    restart: unless-stopped
    stop_grace_period: 20s
    healthcheck:
      test: [CMD-SHELL, wget -qO- http://127.0.0.1:3000/health]
    deploy: { resources: { limits: { memory: 1G } } }
  python-api:
    image: registry.example.com/python-api:\${TAG}
    restart: unless-stopped
    stop_grace_period: 20s
    healthcheck:
      test: [CMD, python3, /app/check.py]
    deploy: { resources: { limits: { memory: 4G } } }
  postgres:
    image: postgres:17.2
    volumes: ['data:/var/lib/postgresql/data']
    restart: unless-stopped
    deploy: { resources: { limits: { memory: 4G } } }
  redis:
    image: redis:7.4.1
    restart: unless-stopped
    deploy: { resources: { limits: { memory: 512M } } }
secrets:
  signing_key:
    file: ./secrets/signing_key
volumes:
  data: {}
`

export const NGINX = `upstream api {
    server api:5000;
}
upstream web {
    server web:3000 max_fails=0;
}
upstream python-api {
    server python-api:5001;
}
server {
    listen 80;
    server_name example.com;
    location /api/ { proxy_pass http://api; }
    location / { proxy_pass http://web; }
}
server {
    listen 80;
    server_name python-api.example.com;
    location / { proxy_pass http://python-api; }
}
`

export const WORKFLOW = `name: deploy
env:
  SERVICES: "api,web,python-api,nginx"
jobs:
  prod:
    env:
      PROD_DEPLOY_HOST: \${{ secrets.PROD_DEPLOY_HOST }}
      PROD_DEPLOY_USER: \${{ secrets.PROD_DEPLOY_USER }}
      PROD_DEPLOY_SSH_KEY: \${{ secrets.PROD_DEPLOY_SSH_KEY }}
    steps:
      - run: bun scripts/stack.ts deploy --env prod --yes
`

export interface Texts {
  readonly config?: string
  readonly compose?: string
  readonly nginx?: string
  readonly workflow?: string
  readonly environment?: EnvironmentName
  readonly missing?: readonly string[]
  readonly variables?: readonly string[]
  readonly asked?: NonNullable<AuditInput['asked']>
}

export function auditInput(texts: Texts = {}): AuditInput {
  const [stack] = parseStacks(texts.config ?? CONFIG, 'config.json')
  if (!stack) throw new Error('no stack')
  const environment = texts.environment ?? 'prod'
  const nginx = texts.nginx ?? NGINX
  const file = (stack satisfies StackConfig).environments.find(({ name }) => name === environment)?.file ?? ''
  return {
    stack,
    environment,
    compose: parseComposeFile(file, texts.compose ?? COMPOSE),
    variables: new Set(texts.variables ?? ['TAG', 'DATABASE_PASSWORD']),
    exists: path => !(texts.missing ?? []).includes(path),
    nginx: [{ file: 'nginx/default.conf', text: nginx, parsed: parseNginx(nginx) }],
    workflow: { file: '.github/workflows/deploy.yml', text: texts.workflow ?? WORKFLOW },
    ...(texts.asked === undefined ? {} : { asked: texts.asked }),
  }
}

/** `text` with one piece replaced; a piece that is not there is a mistake in the table. */
const swap = (text: string, from: string, to: string): string => {
  if (!text.includes(from)) throw new Error(`not in the text: ${from}`)
  return text.replace(from, () => to)
}
const compose = (from: string, to: string): Texts => ({ compose: swap(COMPOSE, from, to) })
const nginx = (from: string, to: string): Texts => ({ nginx: swap(NGINX, from, to) })
const config = (from: string, to: string): Texts => ({ config: swap(CONFIG, from, to) })
const workflow = (from: string, to: string): Texts => ({ workflow: swap(WORKFLOW, from, to) })
const below = (service: string, lines: string): Texts => compose(`  ${service}:\n`, `  ${service}:\n${lines}`)
const LIST = '["api", "web", "python-api", "nginx"]'

export interface Planted {
  readonly fault: string
  readonly texts: Texts
  readonly rule: string
  /** A piece of the line that the finding has to point at. */
  readonly at: string
  /** A piece of the sentence. */
  readonly says: string
}

export const PLANTED: readonly Planted[] = [
  {
    fault: 'an unknown service with a near name',
    texts: config(LIST, '["api", "wbe", "python-api", "nginx"]'),
    rule: 'unknown-service',
    at: '"services"',
    says: 'did you mean "web"?',
  },
  {
    fault: 'a service named by what it does',
    texts: config(LIST, '["api", "web", "python-api", "database-manager", "nginx"]'),
    rule: 'unknown-service',
    at: '"services"',
    says: 'did you mean "postgres"?',
  },
  {
    fault: 'a service that never existed',
    texts: config(LIST, '["api", "web", "python-api", "tenant-provisioner", "nginx"]'),
    rule: 'unknown-service',
    at: '"services"',
    says: '"tenant-provisioner"',
  },
  {
    fault: 'no proxy in the list',
    texts: config(LIST, '["api", "web", "python-api"]'),
    rule: 'proxy-missing',
    at: '"services"',
    says: 'lacks the proxy nginx',
  },
  {
    fault: 'the proxy first',
    texts: config(LIST, '["nginx", "api", "web", "python-api"]'),
    rule: 'proxy-not-last',
    at: '"services"',
    says: 'not the last',
  },
  {
    fault: 'a service before what it needs',
    texts: config(LIST, '["web", "api", "python-api", "nginx"]'),
    rule: 'wrong-order',
    at: '"services"',
    says: 'web is deployed before api',
  },
  {
    fault: 'a service twice',
    texts: config(LIST, '["api", "web", "api", "python-api", "nginx"]'),
    rule: 'twice-in-list',
    at: '"services"',
    says: 'api is in the deploy list twice',
  },
  {
    fault: 'a database in the list',
    texts: config(LIST, '["postgres", "api", "web", "python-api", "nginx"]'),
    rule: 'stateful-in-list',
    at: '"services"',
    says: 'postgres holds state',
  },
  {
    fault: 'a service nobody decided about',
    texts: config('["postgres", "redis"]', '["postgres"]'),
    rule: 'not-rolled',
    at: '  redis:',
    says: 'redis is neither',
  },
  {
    fault: 'a stateful service that is not there',
    texts: config('["postgres", "redis"]', '["postgres", "redis", "postgers"]'),
    rule: 'unknown-stateful',
    at: '"stateful"',
    says: 'did you mean "postgres"?',
  },
  {
    fault: 'the development file in production',
    texts: config('"docker-compose.prod.yml"', '"docker-compose.dev.yml"'),
    rule: 'wrong-file',
    at: '"prod"',
    says: 'named for another',
  },
  {
    fault: 'the production file in development',
    texts: { ...config('"docker-compose.dev.yml"', '"docker-compose.prod.yml"'), environment: 'dev' },
    rule: 'wrong-file',
    at: '"dev"',
    says: 'environment dev uses docker-compose.prod.yml',
  },
  {
    fault: 'no health check',
    texts: compose('    healthcheck:\n      test: [CMD, python3, /app/check.py]\n', ''),
    rule: 'no-health-check',
    at: '  python-api:',
    says: 'python-api has no health check',
  },
  {
    fault: 'a health check switched off',
    texts: compose('test: [CMD, python3, /app/check.py]', 'disable: true'),
    rule: 'no-health-check',
    at: 'healthcheck:',
    says: 'switched off',
  },
  {
    fault: 'a health check without CMD',
    texts: compose('test: [CMD, python3, /app/check.py]', 'test: [python3, /app/check.py]'),
    rule: 'wrong-health-check',
    at: 'test: [python3',
    says: 'does not begin with CMD',
  },
  {
    fault: 'a fixed container name',
    texts: below('api', '    container_name: vpn-api\n'),
    rule: 'container-name',
    at: 'container_name: vpn-api',
    says: '"vpn-api"',
  },
  {
    fault: 'a port of the host',
    texts: below('api', "    ports:\n      - '5000:5000'\n"),
    rule: 'host-port',
    at: "- '5000:5000'",
    says: 'port 5000 of the host',
  },
  {
    fault: 'a port of the host in the long form',
    texts: below('web', '    ports:\n      - target: 3000\n        published: 3001\n'),
    rule: 'host-port',
    at: '- target: 3000',
    says: 'port 3001',
  },
  {
    fault: 'a database open to everybody',
    texts: below('postgres', "    ports: ['5432:5432']\n"),
    rule: 'open-port',
    at: "ports: ['5432",
    says: 'ufw do not apply',
  },
  {
    fault: 'the host’s network',
    texts: below('api', '    network_mode: host\n'),
    rule: 'host-network',
    at: 'network_mode: host',
    says: 'network_mode "host"',
  },
  {
    fault: 'a fixed address',
    texts: below('web', '    networks:\n      default:\n        ipv4_address: 172.20.0.9\n'),
    rule: 'fixed-address',
    at: 'networks:',
    says: 'fixed address',
  },
  {
    fault: 'a volume of its own',
    texts: below('api', "    volumes: ['uploads:/app/uploads']\n"),
    rule: 'own-volume',
    at: 'volumes: [',
    says: '"uploads"',
  },
  {
    fault: 'a folder of the host it writes to',
    texts: below('api', '    volumes:\n      - ./src:/app/src\n'),
    rule: 'own-volume',
    at: '- ./src',
    says: '"./src"',
  },
  {
    fault: 'privileged',
    texts: below('redis', '    privileged: true\n'),
    rule: 'privileged',
    at: 'privileged: true',
    says: 'redis is privileged',
  },
  {
    fault: 'the Docker socket',
    texts: below('web', '    volumes:\n      - /var/run/docker.sock:/var/run/docker.sock:ro\n'),
    rule: 'docker-socket',
    at: 'docker.sock',
    says: 'the whole host',
  },
  {
    fault: 'the host’s processes',
    texts: below('redis', '    pid: host\n'),
    rule: 'host-namespace',
    at: 'pid: host',
    says: 'pid namespace',
  },
  {
    fault: 'the tag latest',
    texts: compose(`image: registry.example.com/web:\${TAG}`, 'image: registry.example.com/web:latest'),
    rule: 'moving-tag',
    at: 'web:latest',
    says: 'tomorrow',
  },
  {
    fault: 'no tag',
    texts: compose(`image: registry.example.com/web:\${TAG}`, 'image: registry.example.com:5000/web'),
    rule: 'moving-tag',
    at: ':5000/web',
    says: 'tomorrow',
  },
  {
    fault: 'a grace shorter than requests',
    texts: compose('stop_grace_period: 20s', 'stop_grace_period: 5s'),
    rule: 'short-grace',
    at: 'stop_grace_period: 5s',
    says: '5 s after',
  },
  {
    fault: 'no grace',
    texts: compose('    stop_grace_period: 20s\n', ''),
    rule: 'short-grace',
    at: '  api:',
    says: '10 s after',
  },
  {
    fault: 'no restart policy',
    texts: compose(
      '    restart: unless-stopped\n    deploy: { resources: { limits: { memory: 512M } } }\nsecrets',
      '    deploy: { resources: { limits: { memory: 512M } } }\nsecrets',
    ),
    rule: 'no-restart',
    at: '  redis:',
    says: 'no restart policy',
  },
  {
    fault: 'no memory limit',
    texts: compose('    deploy: { resources: { limits: { memory: 4G } } }\n  postgres', '  postgres'),
    rule: 'no-limits',
    at: '  python-api:',
    says: 'no memory limit',
  },
  {
    fault: 'a password in the file',
    texts: compose(`DATABASE_PASSWORD: \${DATABASE_PASSWORD}`, 'DATABASE_PASSWORD: hunter22'),
    rule: 'plain-secret',
    at: 'hunter22',
    says: 'DATABASE_PASSWORD',
  },
  {
    fault: 'a secret’s file is missing',
    texts: { missing: ['./secrets/signing_key'] },
    rule: 'missing-secret',
    at: 'file: ./secrets/signing_key',
    says: 'signing_key',
  },
  {
    fault: 'an env file is missing',
    texts: { missing: ['api.env'] },
    rule: 'missing-env-file',
    at: 'env_file:',
    says: '"api.env"',
  },
  {
    fault: 'a variable without a value',
    texts: { variables: ['TAG'] },
    rule: 'undefined-variable',
    at: `DATABASE_PASSWORD: \${`,
    says: 'DATABASE_PASSWORD has no value',
  },
  {
    fault: 'a dependency that is not there',
    texts: compose('depends_on: [postgres]', 'depends_on: [postgress]'),
    rule: 'unknown-dependency',
    at: 'depends_on: [postgress]',
    says: 'did you mean "postgres"?',
  },
  {
    fault: 'one container per host',
    texts: compose(
      'deploy: { resources: { limits: { memory: 1G } } }',
      'deploy:\n      mode: global\n      resources: { limits: { memory: 1G } }',
    ),
    rule: 'global-mode',
    at: 'mode: global',
    says: '"global"',
  },
  {
    fault: 'a profile that is never active',
    texts: below('web', '    profiles: [extra]\n'),
    rule: 'inactive-profile',
    at: 'profiles: [extra]',
    says: 'profile',
  },
  {
    fault: 'an upstream that is no service',
    texts: nginx('server web:3000 max_fails=0;', 'server wep:3000;'),
    rule: 'unknown-upstream-host',
    at: 'server wep:3000',
    says: 'did you mean "web"?',
  },
  {
    fault: 'an upstream by address',
    texts: nginx('server api:5000;', 'server 172.20.0.5:5000;'),
    rule: 'upstream-address',
    at: '172.20.0.5',
    says: 'change with every deploy',
  },
  {
    fault: 'an upstream to the proxy itself',
    texts: nginx('server api:5000;', 'server 127.0.0.1:5000;'),
    rule: 'upstream-address',
    at: '127.0.0.1',
    says: 'the proxy itself',
  },
  {
    fault: 'a service without an upstream',
    texts: nginx('location /api/ { proxy_pass http://api; }', 'location /api/ { proxy_pass http://api:5000; }'),
    rule: 'direct-pass',
    at: 'http://api:5000',
    says: 'straight to "api"',
  },
  {
    fault: 'a location that leads nowhere',
    texts: nginx('proxy_pass http://python-api;', 'proxy_pass http://pyhton-api;'),
    rule: 'unknown-pass',
    at: 'pyhton-api',
    says: 'did you mean "python-api"?',
  },
  {
    fault: 'a location that leads to the proxy itself',
    texts: nginx('proxy_pass http://python-api;', 'proxy_pass http://localhost:5001;'),
    rule: 'self-pass',
    at: 'localhost:5001',
    says: 'the proxy itself',
  },
  {
    fault: 'a location by variable',
    texts: nginx('location / { proxy_pass http://web; }', 'location / { set $to http://web:3000; proxy_pass $to; }'),
    rule: 'pass-by-variable',
    at: 'proxy_pass $to',
    says: 'healthy or not',
  },
  {
    fault: 'a name served twice',
    texts: nginx('server_name python-api.example.com;', 'server_name example.com;'),
    rule: 'same-server',
    at: 'server {',
    says: 'example.com on port 80',
  },
  {
    fault: 'an upstream twice',
    texts: nginx('upstream python-api {', 'upstream api {'),
    rule: 'twice-upstream',
    at: 'upstream api {',
    says: 'defined twice',
  },
  {
    fault: 'a missing semicolon',
    texts: nginx('listen 80;\n    server_name example.com;', 'listen 80\n    server_name example.com;}'),
    rule: 'nginx-syntax',
    at: '}',
    says: 'closing brace',
  },
  {
    fault: 'nginx’s file mounted alone',
    texts: compose('./nginx:/etc/nginx/conf.d:ro', './nginx/default.conf:/etc/nginx/conf.d/default.conf:ro'),
    rule: 'single-file-mount',
    at: 'default.conf',
    says: 'single file',
  },
  {
    fault: 'nginx’s files inside its image',
    texts: compose('    volumes:\n      - ./nginx:/etc/nginx/conf.d:ro\n', ''),
    rule: 'no-config-mount',
    at: '  nginx:',
    says: 'no configuration from the host',
  },
  {
    fault: 'no network with the proxy',
    texts: below('web', '    networks: [back]\n'),
    rule: 'no-shared-network',
    at: 'networks: [back]',
    says: 'share no network',
  },
  {
    fault: 'a key twice',
    texts: compose('  redis:\n    image: redis:7.4.1\n', '  redis:\n    image: redis:7.4.1\n    image: redis:7.4.2\n'),
    rule: 'not-yaml',
    at: 'redis:7.4.2',
    says: 'twice',
  },
  { fault: 'no YAML at all', texts: compose('  redis:\n', '  redis: [\n'), rule: 'not-yaml', at: '', says: 'not YAML' },
  { fault: 'no services', texts: { compose: 'volumes: {}\n' }, rule: 'no-services', at: 'volumes', says: 'no Compose file' },
  {
    fault: 'Compose refuses it',
    texts: { asked: { refused: 'validating compose.yml: services.api additional properties "imgae" not allowed' } },
    rule: 'compose-refuses',
    at: 'services:',
    says: 'imgae',
  },
  {
    fault: 'the workflow’s own list',
    texts: workflow('"api,web,python-api,nginx"', '"api,web,python-api,database-manager,tenant-provisioner"'),
    rule: 'workflow-services',
    at: 'SERVICES',
    says: 'the proxy nginx is missing',
  },
  {
    fault: 'the workflow’s wrong file',
    texts: workflow('- run: bun', '- run: docker compose -f docker-compose.yml pull\n      - run: bun'),
    rule: 'workflow-file',
    at: '-f docker-compose.yml',
    says: 'the file of no environment',
  },
  {
    fault: 'the workflow’s missing file',
    texts: workflow('- run: bun', '- run: docker compose pull api\n      - run: bun'),
    rule: 'workflow-file',
    at: 'docker compose pull',
    says: 'without -f',
  },
  {
    fault: 'the workflow takes everything down',
    texts: workflow('- run: bun', '- run: docker compose -f docker-compose.prod.yml down\n      - run: bun'),
    rule: 'workflow-recipe',
    at: ' down',
    says: 'takes the whole stack down',
  },
  {
    fault: 'the workflow scales to two',
    texts: workflow(
      '- run: bun',
      '- run: docker compose -f docker-compose.prod.yml up -d --no-deps --scale api=2\n      - run: bun',
    ),
    rule: 'workflow-recipe',
    at: '--scale',
    says: 'old version',
  },
  {
    fault: 'the workflow recreates',
    texts: workflow(
      '- run: bun',
      '- run: docker compose -f docker-compose.prod.yml up -d --force-recreate api\n      - run: bun',
    ),
    rule: 'workflow-recipe',
    at: '--force-recreate',
    says: 'before the new one',
  },
  {
    fault: 'the workflow asks by container name',
    texts: workflow('- run: bun', `- run: docker inspect vpn-\${service}\n      - run: bun`),
    rule: 'workflow-recipe',
    at: 'docker inspect',
    says: 'fixed name',
  },
  {
    fault: 'the workflow lacks a secret',
    texts: workflow(`      PROD_DEPLOY_SSH_KEY: \${{ secrets.PROD_DEPLOY_SSH_KEY }}\n`, ''),
    rule: 'workflow-secrets',
    at: 'name: deploy',
    says: 'PROD_DEPLOY_SSH_KEY',
  },
]
