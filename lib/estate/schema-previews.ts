/** The part of config.json's schema that is about previews of pull requests. */

import * as v from 'valibot'
import { integer, key, label, list, mustBe, section, text } from './schema-kit.ts'

const HOST_LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const VARIABLE = 'a name like "API_URL"'

export const previewEntries = {
  previews: key(
    section({
      repository: key(
        text('a repository like "example/web"', /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})\/[A-Za-z0-9._-]{1,100}$/),
        'text',
        '',
        'Repository at GitHub whose pull requests get previews.',
      ),
      substrate: key(
        v.picklist(['servers', 'shared'], mustBe('"servers" or "shared"')),
        'text',
        'shared',
        'A server for each pull request, or all of them on host, each a Compose project of its own.',
      ),
      host: key(
        label,
        'name',
        '',
        'Server that previews are reached through: it holds the wildcard certificate, and with "shared" runs them. Not one with Dokploy; on a system image like Ubuntu 24.04 or Debian 13.',
      ),
      subdomain: key(
        text('a name below the domain like "preview"', new RegExp(`^${HOST_LABEL}(?:\\.${HOST_LABEL})*$`)),
        'text',
        'preview',
        'Previews answer at pr-<number>.<subdomain>.<domain>.',
      ),
      max: key(integer('a whole number from 1 to 50', 1, 50), 'number', '15', 'How many run at once; further ones are queued.'),
      ttl_hours: key(
        integer('a whole number of hours from 1 to 8760', 1, 8_760),
        'number',
        '168',
        'A preview ends so long after its last push, /deploy or /redeploy.',
      ),
      label: key(
        text('a label of at most 50 characters', /^[A-Za-z0-9][\w .:/-]{0,49}$/),
        'text',
        'preview',
        'Label by which somebody with write access lets a pull request from a fork in, for the commit that it then has.',
      ),
      type: key(
        v.lazy((input: unknown): v.GenericSchema<string | string[], string | string[]> => {
          const type = text('a server type like "cx23"', /^[a-z][a-z0-9-]{1,62}$/)
          return Array.isArray(input) ? v.pipe(v.array(type), v.minLength(1, 'must name at least one server type')) : type
        }),
        'text or list',
        'the type of host',
        'With "servers": type of each server, or several in order of preference.',
      ),
      compose_file: key(
        text('a path inside the repository like "compose.yml"', /^(?!\/)(?!.*\.\.)[\w./-]{1,200}$/),
        'path',
        'compose.yml',
        'Compose file in the repository.',
      ),
      service: key(text('a name of a service', /^[a-zA-Z0-9][\w.-]{0,62}$/), 'name', 'web', 'Service that visitors reach.'),
      port: key(integer('a port from 1 to 65535', 1, 65_535), 'number', '3000', 'Port that it listens on, over HTTP.'),
      variables: key(
        list(text(VARIABLE, /^[A-Z][A-Z0-9_]{0,63}$/), 'a list of variable names'),
        'list of texts',
        'none',
        'Variables given to previews, each read from PREVIEW_<NAME> and from nowhere else. Forks get none of them.',
      ),
      memory_mb: key(
        integer('a whole number from 64 to 65536', 64, 65_536),
        'number',
        '512',
        'Memory that each service may use.',
      ),
    }),
    'group',
    'no previews',
    'An environment for each open pull request.',
  ),
}
