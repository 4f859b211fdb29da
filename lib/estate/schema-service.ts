/** The part of config.json's schema that is about one application that runs by itself on a NixOS server. */

import * as v from 'valibot'
import { integer, key, label, mustBe, section, text } from './schema-kit.ts'

const REPOSITORY = 'an address like "https://github.com/owner/name.git", without a password in it'
const isRepository = (input: string): boolean => {
  const url = URL.parse(input)
  return url !== null && url.protocol === 'https:' && url.username === '' && url.password === '' && url.pathname.length > 1
}
const BRANCH = 'the name of a branch'
const HOST_LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'

export const serviceEntries = {
  service: key(
    section({
      server: key(label, 'name', 'the only server with os "nixos"', 'Server that it runs on.'),
      repository: key(
        v.pipe(v.string(mustBe(REPOSITORY)), v.check(isRepository, mustBe(REPOSITORY))),
        'text',
        '',
        'Public repository with a devenv.nix; it is cloned on the server.',
      ),
      branch: key(text(BRANCH, /^(?![-/.])(?!.*\.\.)[\w./-]{1,100}$/), 'text', 'main', 'Branch that is deployed.'),
      profile: key(text('a name', /^[\w-]{1,60}$/), 'name', 'prod', 'Profile of devenv.nix: `devenv --profile <profile> up`.'),
      subdomain: key(
        text('a name below the domain like "backend"', new RegExp(`^${HOST_LABEL}(?:\\.${HOST_LABEL})*$`)),
        'text',
        'the name of the server',
        'Where it answers, below dns.domain; Caddy gets the certificate.',
      ),
      port: key(integer('a port from 1 to 65535', 1, 65_535), 'number', '3000', 'Port on the server that Caddy leads to.'),
      health: key(
        text('a path like "/health"', /^\/[\w\-.~%!$&'()*+,;=:@/?]{0,200}$/),
        'path',
        '/',
        'Asked after each start and update; an answer below 400 is healthy.',
      ),
      env_file: key(
        text('a path beside this file', /^(?!\/)(?!.*(?:^|\/)\.\.(?:\/|$))[^\p{Cc}]{1,200}$/u),
        'path',
        'no variables',
        '.env file with its variables, beside this file; kept on the server for root only.',
      ),
    }),
    'group',
    'none',
    'A backend that brings its own environment with devenv, on a NixOS server behind Caddy.',
  ),
}
