<?php

/** Every method against a real server: php methods.php URL */

declare(strict_types=1);

require __DIR__ . '/../Shaveet.php';

use Shaveet\Batch;
use Shaveet\BatchFailed;
use Shaveet\CallFailed;
use Shaveet\Client;

function same($expected, $actual): void
{
    if ($expected !== $actual) {
        $values = 'wanted ' . var_export($expected, true) . ', got ' . var_export($actual, true);
        throw new AssertionError($values);
    }
}

/** The exception that the deed ends with. */
function fails(string $kind, callable $deed): Throwable
{
    try {
        $deed();
    } catch (Throwable $error) {
        same($kind, get_class($error));
        return $error;
    }
    throw new AssertionError("no $kind");
}

function texts(array $history): array
{
    return array_column($history['messages'], 'data');
}

$shaveet = new Client($argv[1]);

// Clients and subscriptions.
$key = $shaveet->create_client('alice');
same(1, preg_match('/^[0-9a-f]{32}$/', $key));
same($key, $shaveet->create_client('alice'));
$shaveet->create_client('bob');
same(1, $shaveet->subscribe('alice', 'room'));
same(200, $shaveet->subscribe_many(['hall' => ['alice', 'bob'], '0' => ['bob']]));
same(200, $shaveet->subscribe_many([]));
same(['0', 'hall'], (static function (array $names) { sort($names); return $names; })($shaveet->get_client_channels('bob')));
same(200, $shaveet->unsubscribe_many(['0' => ['bob']]));
same(200, $shaveet->unsubscribe_all_channel('hall', [7 => 'bob']));
same(['bob'], $shaveet->get_channel_clients('hall'));
same(1, $shaveet->unsubscribe('bob', 'hall'));
same(['clients' => ['alice'], 'after' => null], $shaveet->list_clients('ali'));
same(true, $shaveet->client_info('alice')['here']);
same(true, $shaveet->rotate_key('alice') !== $key);
same(200, $shaveet->kill_client('bob'));

// Messages.
$first = $shaveet->publish('talk', 'höre 😀', ['from' => 'alice']);
same(1, $first['id']);
same(1, $shaveet->new_message('bob', ['a' => 1.0], 'talk'));
same($first['id'] + 2, $shaveet->publish('talk', [], ['ttl_ms' => 600000, 'exclude' => ['alice']])['id']);
same(['höre 😀', '{"a":1.0}', '[]'], texts($shaveet->history('talk')));
same(['{"a":1.0}'], texts($shaveet->history('talk', $first['position'], 1)));
$once = $shaveet->publish('once', 'x', ['idempotency_key' => 'k']);
same($once, $shaveet->publish('once', 'x', ['idempotency_key' => 'k']));
same([1, 1], array_column($shaveet->broadcast([3 => 'one', 5 => 'two'], 'x'), 'id'));
$shaveet->subscribe('alice', 'once', ['since' => $first['position']]);
same('waiting', $shaveet->why('alice', 'once', $once['id'])['state']);
same(2, $shaveet->channel_info('one')['next_id']);
same(['channels' => ['once', 'one'], 'after' => null], (static function (array $page) {
    sort($page['channels']);
    return $page;
})($shaveet->list_channels('on')));
same('Shaveet', $shaveet->call('system.describe')['name']);
same([], $shaveet->call('get_channel_clients', ['nowhere']));

// Errors.
$error = fails(Shaveet\UnknownClient::class, static fn () => $shaveet->kill_client('bob'));
same(-32001, $error->getCode());
fails(Shaveet\UnknownChannel::class, static fn () => $shaveet->channel_info('nowhere'));
fails(Shaveet\UnknownMethod::class, static fn () => $shaveet->call('no_such_method'));
fails(Shaveet\InvalidArguments::class, static fn () => $shaveet->publish('talk', 'x', ['ttl' => 1]));
fails(Shaveet\InvalidArguments::class, static fn () => $shaveet->publish('talk', "\xff"));
fails(Shaveet\LimitReached::class, static fn () => $shaveet->create_client(str_repeat('x', 70000)));
fails(Shaveet\InvalidRequest::class, static fn () => $shaveet->publish('talk', str_repeat('x', 5 << 20)));
fails(InvalidArgumentException::class, static fn () => new Client('localhost:8082'));
fails(InvalidArgumentException::class, static fn () => new Client($argv[1], ['tokn' => 'x']));

// Batches.
same([32, 1, 2], (static function (array $results) {
    return [strlen($results[0]), $results[1], $results[2]['id']];
})($shaveet->batch(static function (Batch $batch) {
    $batch->create_client('carol');
    $batch->subscribe('carol', 'batch');
    $batch->publish('batch', 'x');
})));
$error = fails(BatchFailed::class, static fn () => $shaveet->batch(static function (Batch $batch) {
    $batch->publish('batch', 'y');
    $batch->subscribe('nobody', 'batch');
    $batch->publish('batch', 'z');
}));
same([true, true, true], [
    $error->results[0]['id'] === 3, $error->results[1] instanceof CallFailed, $error->results[2]['id'] === 4,
]);
$many = $shaveet->batch(static function (Batch $batch) {
    for ($i = 1; $i <= 2500; $i++) {
        $batch->publish('many', (string) $i);
    }
    for ($i = 1; $i <= 8; $i++) {
        $batch->publish('many', str_repeat('x', 300000));
    }
});
same(range(1, 2508), array_column($many, 'id'));
same([], $shaveet->batch(static function () {
}));

echo "all is well\n";
