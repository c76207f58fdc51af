#!/bin/sh
# What a provider's control panel does with Chevereto's Tenants API, written against its documentation alone: curl, openssl, sh.
#
#   API=https://host/_/api/4 API_KEY=chv_1_… API_SECRET=… sh provider.sh
set -eu

body=$(mktemp)
trap 'rm -f "$body"' EXIT

# call EXPECTED-STATUS METHOD PATH [JSON]: leaves the answer in $body, and ends the script at any other status.
call() {
    expected=$1 method=$2 path=$3 json=${4-}
    signature=$(printf '%s' "$json" | openssl dgst -sha256 -hmac "$API_SECRET" | sed 's/^.* //')
    if [ -n "$json" ]; then
        set -- --header 'Content-Type: application/json' --data-raw "$json"
    else
        set --
    fi
    status=$(curl --silent --show-error --request "$method" --header "X-API-Key: $API_KEY" \
        --header "X-Signature: $signature" --output "$body" --write-out '%{http_code}' "$@" "$API$path")
    if [ "$status" != "$expected" ]; then
        echo "$method $path answered $status instead of $expected: $(cat "$body")" >&2
        exit 1
    fi
}

show() {
    cat "$body"
    echo
}

has() {
    grep -q -- "$1" "$body" || { echo "no $1 in $(cat "$body")" >&2; exit 1; }
}

call 200 POST /auth/verify
call 201 POST /tenants-plans '{"id":"basic","limits":{"CHEVERETO_MAX_FILES":"500"}}'
call 201 POST /tenants '{"id":"shop1","hostname":"shop1.example","is_enabled":true,"plan_id":"basic","limits":{},"env":{}}'
call 201 POST /tenants/shop1/install '{"username":"owner","email":"owner@shop1.example","password":"correct horse"}'
call 409 POST /tenants/shop1/install '{"username":"owner","email":"owner@shop1.example","password":"correct horse"}'
call 404 POST /tenants/nobody/install '{"username":"owner","email":"owner@shop1.example","password":"correct horse"}'

call 204 PATCH /tenants/shop1 '{"hostname":"shop1-new.example","limits":{"CHEVERETO_MAX_TAGS":"500"},"env":{"CUSTOM_VAR":"1"}}'
call 204 PATCH /tenants-plans/basic '{"limits":{"CHEVERETO_MAX_FILES":"1000"}}'
call 200 GET /tenants/shop1
show
call 200 GET /tenants-plans/basic
show
call 200 PATCH /tenants/shop1/user-password-reset '{"username":"owner"}'
show
call 200 GET /tenants
has '"id":"shop1"'
call 200 GET /tenants-plans
has '"id":"basic"'

call 204 PATCH /tenants/shop1 '{"is_enabled":false}'
call 200 GET /tenants/shop1
has '"is_enabled":false'
call 204 PATCH /tenants/shop1 '{"plan_id":""}'
call 204 DELETE /tenants-plans/basic
call 404 GET /tenants-plans/basic
call 204 DELETE /tenants/shop1 '{"drop_tables":true}'

tries=0
until [ "$(curl --silent --output /dev/null --write-out '%{http_code}' --header "X-API-Key: $API_KEY" \
    --header "X-Signature: $(printf '' | openssl dgst -sha256 -hmac "$API_SECRET" | sed 's/^.* //')" "$API/tenants/shop1")" = 404 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "shop1 is still there" >&2; exit 1; }
    sleep 0.2
done
echo done
