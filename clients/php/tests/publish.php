<?php

/** Publishes, over a line that loses answers: php publish.php URL COUNT */

declare(strict_types=1);

require __DIR__ . '/../Shaveet.php';

$shaveet = new Shaveet\Client($argv[1], ['retry_for' => 30]);
for ($i = 0; $i < (int) $argv[2]; $i++) {
    $shaveet->publish('room', (string) $i);
}
try {
    $shaveet->new_message('alice', 'not again', 'old');
    echo "answered\n";
} catch (Shaveet\Unavailable $error) {
    echo $error->maybeDone ? "maybe\n" : "no\n";
}
